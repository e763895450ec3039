"""The ways to compute one local step for many worlds at once. One file each; the calibration picks one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.discover import subclasses
from experiments.core.engine.net import Net


@dataclass(frozen=True)
class Sampled:
    """Features that enter a network behind a block, beside those of the samples.

    Attributes:
        features: [B, m, ...] of each model. labels: [m] what they are labelled.
        weight: [B, m] or None, as of samples.
        shares: what the two mean losses count, (of the samples, of the features).
    """

    features: Tensor
    labels: Tensor
    weight: Tensor | None
    shares: tuple[float, float]


class Formulation(ABC):
    """Computes gradients and outputs of B models of one architecture on inputs they share.

    All formulations agree to rounding (law 3). The engine splits B over threads and memory-sized chunks and calls
    these methods from several threads at once, so they must not keep mutable state between calls (caches keyed by
    shape and guarded by a lock are fine).
    """

    name: str = ""
    names_draws: bool = False
    """Whether `at` is kept to: a model that draws random numbers (`Net.draws`) is left to these formulations."""
    splits: bool = False
    """Whether it has `joint`: an algorithm that needs it (`Algorithm.splits`) is left to these formulations."""

    def __init__(self, net: Net) -> None:
        self.net = net

    @classmethod
    @abstractmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether it can compute `net` exactly on `device` (and its toolchain is present)."""

    @classmethod
    def runs(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether it is in the race for `net`: it supports it, and what the model draws, if it does, is named."""
        return cls.supports(net, device, dtype) and (cls.names_draws or not net.draws)

    def at(self, draws: int) -> Formulation:
        """The same formulation, where all that the model draws comes from the stream `draws` (see `draws.step_seed`).

        It is the same for every model of a stack: worlds that differ in nothing stay equal.
        """
        return self

    @abstractmethod
    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Gradient of each model's weighted mean loss, sum_s w_s loss_s / sum_s w_s, in training mode.

        Args:
            theta: [B, size] states, one row a model. Buffers (BatchNorm statistics) are updated in place.
            x, y: [n, ...], [n] the batch that all models share.
            weight: [B, n] sample weights (0 leaves a sample out), or None for all ones.

        Returns:
            [B, p] gradients. A row of `weight` that is all zero gives a zero gradient.
        """

    def joint(
        self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, block: str, sampled: Sampled | None
    ) -> tuple[Tensor, Tensor]:
        """`gradient` where further features enter behind a block, in one forward pass with those of the samples.

        Args:
            theta, x, y, weight: as in `gradient`.
            block: see `split.path_of`.
            sampled: what enters, and how the loss weighs it; None: nothing, and this is `gradient`. A model of whose
                samples none has a weight gets a zero gradient.

        Returns:
            [B, p] gradients, which do not flow into the sampled features, and [B, n, ...] the samples' features (those
            of a sample of weight 0 may be 0).
        """
        raise NotImplementedError(f"{self.name} cannot split a network")

    def clipped(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
        """Sums of the samples' gradients, each scaled down to a norm of `clip` first (Abadi et al. 2016).

        Each sample goes through the model alone, as far as numbers go, with nothing drawn: models without BatchNorm
        and dropout.

        Args:
            theta, x, y, weight: as in `gradient`. clip: C.

        Returns:
            [B, p] sum_s w_s min(1, C / ||g_s||) g_s, and [B, n] the norms ||g_s|| before clipping (0 where a sample of
            weight 0 was passed over).
        """
        from experiments.core.engine.clipped import clipped

        return clipped(self.net, theta, x, y, weight, clip)

    @abstractmethod
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs in evaluation mode: theta [B, size], x [n, ...] -> [B, n, C]. No autograd graph is kept."""

    def descend(
        self,
        theta: Tensor,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        steps: int,
        lr: float,
        decay: Tensor | None = None,
    ) -> Tensor:
        """States after `steps` full-batch steps theta -= lr * (gradient + decay * theta).

        Args:
            theta: [B, size] states to start from; not changed.
            x, y, weight: as in `gradient`.
            steps: number of steps.
            lr: step size.
            decay: [p] weight decay of each parameter, or None for none.

        Returns:
            [B, size] states, buffers as the steps left them.
        """
        theta, p = theta.detach().clone(), self.net.p
        pull = None if decay is None else decay.to(theta)
        for _ in range(steps):
            step = self.gradient(theta, x, y, weight)
            theta[:, :p] -= lr * (step if pull is None else step + pull * theta[:, :p])
        return theta

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """Upper estimate of the bytes that one model of the stack needs besides its state, for a batch of n samples."""
        return 4 * n * 64 * max(1, int(torch.tensor(shape).prod()))


def formulations() -> dict[str, type[Formulation]]:
    """Every formulation in this folder, by name."""
    import experiments.core.engine.formulations as package

    return subclasses(package, Formulation)
