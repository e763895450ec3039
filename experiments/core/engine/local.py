"""One client's local training for a stack of worlds: (states [B, size], data) -> states [B, size]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.algorithm import Batch, Local
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains: for `steps` full-batch iterations, or for `epochs` in mini-batches; by SGD, Adam or AdamW.

    Attributes:
        lr: eta, the learning rate of round 1.
        steps: m, full-batch iterations (Eq. 2 of Xue et al. 2021); excludes `epochs`.
        epochs, batch_size: passes over the client's data in mini-batches, reshuffled each epoch; the last may be short.
        optimizer: "sgd"; "adam" (Kingma and Ba 2015); "adamw" (Loshchilov and Hutter 2019: weight decay beside the
            gradient, not in it). As in torch.optim, and anew in every round: no memory of earlier ones.
        momentum, nesterov: of SGD. betas, eps: of Adam and AdamW. weight_decay: of all three.
        lr_schedule: over rounds: "constant"; "step" (times `gamma` every `every` rounds); "exponential" (times `gamma`
            a round); "cosine" (to zero over `every` rounds).

    Raises:
        SpecError: an unknown optimiser, momentum without SGD.
    """

    lr: float
    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    lr_schedule: str = "constant"
    gamma: float = 1.0
    every: int = 1
    optimizer: str = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise SpecError(
                f"unknown optimiser {self.optimizer!r}", "local.optimizer", f"use one of {', '.join(OPTIMIZERS)}"
            )
        if self.optimizer != "sgd" and (self.momentum or self.nesterov):
            raise SpecError(f"{self.optimizer} has no momentum to set", "local.momentum", "use it with sgd only")

    def lr_at(self, t: int) -> float:
        """The learning rate of round t."""
        if self.lr_schedule == "step":
            return self.lr * self.gamma ** ((t - 1) // self.every)
        if self.lr_schedule == "exponential":
            return self.lr * self.gamma ** (t - 1)
        if self.lr_schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (t - 1) / self.every)))
        return self.lr

    def epoch_of(self, step: int, steps: int) -> int:
        """The pass over the data, from 0, that step 0, 1, ... of a round's `steps` belongs to."""
        return step * (self.steps or self.epochs or 1) // steps

    def batches(self, n: int, seed: int, client: int, t: int) -> list[Tensor | None]:
        """Rows of each local step, in order; None stands for all n (full batch)."""
        if self.steps is not None:
            return [None] * self.steps
        size = self.batch_size or n
        steps: list[Tensor | None] = []
        for epoch in range(self.epochs or 1):
            order = stream(seed, "batch", client=client, round=t, epoch=epoch).permutation(n)
            steps += [torch.from_numpy(order[a : a + size].copy()) for a in range(0, n, size)]
        return steps

    def count(self, n: int) -> int:
        """The local steps of a round with n samples."""
        return self.steps if self.steps is not None else (self.epochs or 1) * -(-n // (self.batch_size or n))

    def rate(self, n: int) -> float:
        """q, the probability with which a sample of a client's n is in a batch that Poisson sampling draws."""
        return 1.0 if self.steps is not None else min(1.0, (self.batch_size or n) / n)

    def poisson_batches(self, n: int, seed: int, client: int, t: int) -> list[Tensor | None]:
        """As `batches`, and as many, but each sample is in each batch with probability q, independently of all else.

        Batches differ in size, and may be empty; q n samples are expected. None stands for all n, where q is 1.
        """
        rate, count = self.rate(n), self.count(n)
        if rate == 1.0:
            return [None] * count
        drawn = (stream(seed, "batch", client=client, round=t, step=step).random(n) < rate for step in range(count))
        return [torch.from_numpy(rows.nonzero()[0]) for rows in drawn]


def train_stack(
    formulation: Formulation,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    batches: Sequence[Tensor | None],
    local: LocalTraining,
    lr: float,
    part: Local | None = None,
    client: int = 0,
    keep: list[Tensor] | None = None,
    draws: Callable[[int], int] | None = None,
    shown: Callable[[int, Tensor], Tensor] = lambda step, x: x,
) -> Tensor:
    """Train B models on one client's data, from `start` [B, size]; returns their states after the last step.

    Args:
        formulation: computes the gradients.
        start: [B, size] states at the beginning; not changed.
        x, y: the client's n samples.
        weight: [B, n] sample weights, or None.
        batches: rows of each step (see `LocalTraining.batches`).
        local, lr: the optimiser's settings and this round's learning rate.
        part: the algorithm's; None: plain gradients. client: k, for what the algorithm draws.
        keep: where given, a copy of the first model's state before each step is appended to it.
        draws: number of the step -> the stream of what the model draws itself (see `Formulation.at`).
        shown: (number of the step, its inputs) -> the inputs as the model sees them.
    """
    theta, p, part = start.clone(), formulation.net.p, part or Local()
    move = (_sgd if local.optimizer == "sgd" else _adam)(theta, p, local, lr)
    for i, rows in enumerate(batches):
        if keep is not None:
            keep.append(theta[0].clone())
        bx, by, bw = (x, y, weight) if rows is None else (x[rows], y[rows], None if weight is None else weight[:, rows])
        drawing = formulation if draws is None else formulation.at(draws(i))
        move(part.step(drawing, theta, Batch(client, i, local.epoch_of(i, len(batches)), shown(i, bx), by, bw)))
    return theta


_Move = Callable[[Tensor], None]
"""Takes gradients [B, p] (and may overwrite them), and changes the states."""


def _sgd(theta: Tensor, p: int, local: LocalTraining, lr: float) -> _Move:
    velocity: Tensor | None = None

    def move(step: Tensor) -> None:
        nonlocal velocity
        if local.weight_decay:
            step = step.add_(theta[:, :p], alpha=local.weight_decay)
        if local.momentum:
            velocity = step.clone() if velocity is None else velocity.mul_(local.momentum).add_(step)
            step = step.add_(velocity, alpha=local.momentum) if local.nesterov else velocity
        theta[:, :p].add_(step, alpha=-lr)

    return move


def _adam(theta: Tensor, p: int, local: LocalTraining, lr: float) -> _Move:
    """PyTorch's own fused kernel on the stack: one pass over memory, four times as fast as Adam operation by operation.

    Where a gradient is nothing but rounding (a bias before BatchNorm), Adam makes the rounding large: there two
    formulations agree less closely than elsewhere, and the model's outputs do not care.
    """
    whole = theta[:, :p]  # the kernel wants dense tensors: all models at once, or model by model beside buffers
    dense = whole.is_contiguous()
    parts = [whole] if dense else list(whole)
    kind = torch.optim.Adam if local.optimizer == "adam" else torch.optim.AdamW
    fused = theta.device.type in ("cpu", "cuda")
    optimiser = kind(parts, lr, local.betas, local.eps, local.weight_decay, fused=fused)

    def move(step: Tensor) -> None:
        for part, gradient in zip(parts, [step] if dense else step, strict=True):
            part.grad = gradient
        optimiser.step()

    return move
