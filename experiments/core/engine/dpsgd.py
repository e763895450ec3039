"""Differentially private stochastic gradient descent (Abadi et al. 2016, Algorithm 1) in many worlds side by side."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Mechanism:
    """Clip the gradient of every sample, add up, add Gaussian noise, divide by the expected batch.

    The guarantee is for one sample of a client (example level), against all that see the client's steps. Batches are
    drawn by `LocalTraining.poisson_batches`.

    Attributes:
        clip: C, the largest Euclidean norm of a sample's gradient.
        noise: sigma, the noise multiplier: the sum of the gradients gets noise of deviation sigma C.

    Raises:
        SpecError: no positive clip, negative noise.
    """

    clip: float
    noise: float

    def __post_init__(self) -> None:
        if not 0 < self.clip < float("inf"):
            raise SpecError(f"gradients cannot be clipped to {self.clip:g}", "privacy.clip", "give a norm above 0")
        if not 0 <= self.noise < float("inf"):
            raise SpecError(f"noise {self.noise:g} is none", "privacy.noise", "give a noise multiplier of 0 or more")

    def draw(self, p: int, like: Tensor, seed: int) -> Tensor:
        """The noise [p] of the step that `seed` names, of the dtype and on the device of `like`; drawn on the CPU."""
        generator = torch.Generator().manual_seed(int(stream(seed, "noise").integers(2**63)))
        drawn = torch.empty(p, dtype=like.dtype)
        return drawn.normal_(0, self.noise * self.clip, generator=generator).to(like.device)


class Private(Formulation):
    """A formulation whose gradients are differentially private: what a local step descends in DP-SGD.

    Its gradient is (sum_s w_s min(1, C / ||g_s||) g_s + sigma C z) / (q n): the divisor is the *expected* batch
    exactly, of the samples that remain in a world. z comes from the stream that `at` names, and is the same in every
    world: a truth holds no difference of noise. A batch of no sample is a step of noise alone.

    Args:
        inner: computes the clipped sums.
        mechanism: C and sigma.
        expected: q n, one number, or [B] of the worlds in the stack.
    """

    name = "private"
    names_draws = True

    def __init__(self, inner: Formulation, mechanism: Mechanism, expected: Tensor | float) -> None:
        super().__init__(inner.net)
        self._inner, self._mechanism = inner, mechanism
        self._expected: Tensor | float = expected.unsqueeze(1) if isinstance(expected, Tensor) else expected
        self._seed: int | None = None

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Never by itself: it is put around another one."""
        return False

    def at(self, draws: int) -> Formulation:
        """The same, with the noise of the step that `draws` names."""
        named = copy.copy(self)
        named._inner, named._seed = self._inner.at(draws), draws
        return named

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """The private gradient [B, p]; see `Formulation.gradient` for the arguments.

        A world in which no sample remains gets the noise as it is, to be divided by nothing: its row is zero.

        Raises:
            RuntimeError: no step was named (see `at`).
        """
        if self._seed is None:
            raise RuntimeError("noise without a name: call `at` first")
        total = theta.new_zeros(len(theta), self.net.p)
        if len(x):
            total, _ = self._inner.clipped(theta, x, y, weight, self._mechanism.clip)
        total = total + self._mechanism.draw(self.net.p, theta, self._seed)
        if isinstance(self._expected, float):
            return total / self._expected
        return torch.where(self._expected > 0, total / self._expected.clamp(min=1e-30), 0.0)

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        return self._inner.outputs(theta, x)

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """See `Formulation.scratch`."""
        return self._inner.scratch(n, shape)


def plain_gradient(
    net: Net, module: torch.nn.Module, x: Tensor, y: Tensor, mechanism: Mechanism, expected: float, seed: int
) -> Tensor:
    """The private gradient [p] as anybody would write it, sample by sample: the twin of `Private.gradient`.

    Args:
        net: lays out the parameters. module: the model, in training.
        x, y: [n, ...], [n] the samples of the batch that count; n may be 0. expected: q n. seed: names the noise.
    """
    trained = [tensor for tensor in module.parameters() if tensor.requires_grad]
    total = torch.zeros(net.p, dtype=trained[0].dtype, device=trained[0].device)
    for i in range(len(x)):
        loss = net.losses(module(x[i : i + 1]), y[i : i + 1]).sum()
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, trained)])
        total += gradient * min(1.0, mechanism.clip / max(float(gradient.norm()), 1e-300))
    return (total + mechanism.draw(net.p, total, seed)) / expected
