"""Centralised training of many worlds side by side: one optimiser, one data set, a stack of states."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import Workers, free_bytes, halving
from experiments.core.engine.draws import step_seed
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Descent:
    """An optimiser with its learning rates, batches and weight decay.

    Attributes:
        lr: the learning rate of step 0.
        optimizer: gd, momentum, nesterov, adam (Kingma and Ba 2015) or rmsprop (Hinton 2012), with the arithmetic and
            the defaults of torch.optim.SGD, Adam and RMSprop.
        batch_size: samples of a mini-batch, the last of an epoch may be short; None: the full batch.
        momentum: mu of momentum and nesterov.
        drops: ((step, factor), ...) by rising step: from that step on the learning rate is lr * factor, as Koh and
            Liang (2017) train.
        decay: lambda in (lambda/2) ||mask * theta||^2. Its gradient is part of the gradient that the optimiser sees.
        mask: [p] of 0 and 1, the parameters that are decayed; None: all.

    Raises:
        SpecError: an unknown optimiser, a batch without samples.
    """

    lr: float
    optimizer: str = "gd"
    batch_size: int | None = None
    momentum: float = 0.9
    drops: tuple[tuple[int, float], ...] = ()
    decay: float = 0.0
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in _UPDATES:
            raise SpecError(f"unknown optimiser {self.optimizer!r}", "optimizer", f"use one of {', '.join(_UPDATES)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise SpecError("a batch needs a sample", "batch_size", "give at least 1, or none for the full batch")

    def lr_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        return self.lr * next((factor for at, factor in reversed(self.drops) if step >= at), 1.0)

    def penalty(self, like: Tensor, p: int) -> Tensor | None:
        """Lambda * mask, [p] of the dtype and device of `like`; None without decay."""
        if not self.decay:
            return None
        return self.decay * (like.new_ones(p) if self.mask is None else self.mask.to(like))

    def batches(self, n: int, seed: int, first: int, steps: int) -> Iterator[Tensor | None]:
        """Rows of the batches of steps first, first + 1, ...; None stands for all n.

        Every epoch has its own random stream, which knows nothing of worlds (law 1).
        """
        if self.batch_size is None or self.batch_size >= n:
            yield from [None] * steps
            return
        per_epoch, order = -(-n // self.batch_size), None
        for step in range(first, first + steps):
            epoch, batch = divmod(step, per_epoch)
            if order is None or batch == 0:
                order = torch.from_numpy(stream(seed, "batch", epoch=epoch).permutation(n))
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


@dataclass(frozen=True)
class Moments:
    """What an optimiser remembers of the gradients: running means [B or 1, p] and how many steps went into them.

    The velocity for momentum and nesterov; the mean square for rmsprop; mean and mean square for adam; nothing for gd.
    """

    means: tuple[Tensor, ...]
    steps: int


@dataclass(frozen=True)
class Descended:
    """B trained models.

    Attributes:
        states: [B, size]. moments: where the optimiser stands. step: the number of the next step.
        finite: [B] bool, false for a world that diverged.
    """

    states: Tensor
    moments: Moments
    step: int

    @property
    def finite(self) -> Tensor:
        """[B] whether a world's state is finite."""
        return torch.isfinite(self.states).all(1)


@dataclass(frozen=True)
class _Run:
    """What stays the same through a descent."""

    formulation: Formulation
    x: Tensor
    y: Tensor
    weight: Tensor | None
    descent: Descent
    seed: int


_PASS = 4096  # samples of one pass


def descend(
    formulation: Formulation,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    descent: Descent,
    steps: int,
    seed: int,
    workers: Workers,
    *,
    moments: Moments | None = None,
    first: int = 0,
    chunk: int | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Descended:
    """Train B worlds side by side, all on the same batches.

    To continue a finished run as Koh and Liang (2017) do, start from its state and hand in its `moments` and, as
    `first`, its `step`: learning rate and epochs continue where it ended. Without `moments` the
    optimiser starts afresh.

    Args:
        formulation: computes the gradients.
        start: [B, size] states; not changed.
        x, y: [n, ...], [n] the training data.
        weight: [B, n] sample weights (see `worlds.sample_weights`), or None. The loss is the mean over the batch's
            remaining samples; a batch of which none remains has only the weight decay's gradient.
        descent: optimiser, learning rates, batches, weight decay.
        steps: number of steps.
        seed: of the batches.
        workers: worlds are spread over their threads.
        moments: of [B, p] or [1, p] (shared by all worlds).
        first: number of the first step.
        chunk: worlds per piece of work; None picks it from free memory. Memory errors halve it.
        checkpoint: saved when due; a run resumes from an existing one of the same fingerprint.
        progress: called with (steps done, steps in all).

    Returns:
        The models, also those that diverged.

    Raises:
        SpecError: `moments` of another optimiser. MissingError: not even one model fits into memory.
    """
    run = _Run(formulation, x, y, weight, descent, seed)
    packed, taken = _packed(formulation.net.p, start, descent, moments)
    before = moments.steps if moments else 0
    batch = min(descent.batch_size or len(x), len(x))
    room = chunk or room_for(formulation, batch, x, len(start), workers.threads)
    done = 0
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        done, room = int(saved["done"]), int(saved["room"])
        packed.copy_(saved["packed"])
        checkpoint.resumes("step", done + 1, steps)
    block = 1
    while done < steps:
        block, began = min(block, steps - done), time.monotonic()
        _advance(run, packed, taken, first + done, before + done, block, room, workers)
        done += block
        if checkpoint is not None and (checkpoint.due() or done == steps):
            checkpoint.save({"done": done, "room": room, "packed": packed})
        if progress is not None:
            progress(done, steps)
        block = _next_block(block, time.monotonic() - began)
    states, *means = (part.contiguous() for part in packed.split(taken, 1))
    return Descended(states, Moments(tuple(means), before + steps), first + steps)


def _next_block(block: int, seconds: float) -> int:
    """Steps until the next look at the clock, about a second's worth, when `block` steps took `seconds`."""
    if seconds < 0.5:
        return 2 * block
    return max(1, block // 2) if seconds > 2.0 else block


def _packed(p: int, start: Tensor, descent: Descent, moments: Moments | None) -> tuple[Tensor, list[int]]:
    """States and moments side by side in one tensor [B, size + k p], so that they are cut and saved together."""
    wanted = _UPDATES[descent.optimizer][1]
    if moments is not None and len(moments.means) != wanted:
        raise SpecError(
            f"{len(moments.means)} moments were handed in where {descent.optimizer} has {wanted}",
            "moments",
            "continue with the optimiser of the base run, or start without moments",
        )
    means = [start.new_zeros(1, p)] * wanted if moments is None else [m.to(start) for m in moments.means]
    packed = torch.cat([start, *(mean.expand(len(start), p) for mean in means)], 1)
    return packed, [start.shape[1], *[p] * wanted]


def room_for(formulation: Formulation, samples: int, x: Tensor, worlds: int, threads: int) -> int:
    """Worlds per piece of work on batches of `samples` rows of x: what fits into memory, evenly over the threads."""
    scratch = formulation.scratch(min(samples, _PASS), tuple(x.shape[1:]))
    fitting = free_bytes(x.device) // threads // scratch
    return min(max(1, fitting), -(-worlds // threads))


def mean_gradient(
    formulation: Formulation,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    seed: Callable[..., int] | None = None,
) -> Tensor:
    """`Formulation.gradient` [B, p] for any number of samples, in passes of bounded memory.

    `seed`, called with first=sample, names the stream of what a model draws in a pass (see `Formulation.at`).
    """
    seed = seed if formulation.net.draws else None

    def gradient(rows: slice, part: Tensor | None) -> Tensor:
        seeded = formulation if seed is None else formulation.at(seed(first=rows.start))
        return seeded.gradient(theta, x[rows], y[rows], part)

    if len(x) <= _PASS:
        return gradient(slice(0, None), weight)
    total = theta.new_zeros(len(theta), formulation.net.p)
    counted = theta.new_zeros(len(theta), 1)
    for a in range(0, len(x), _PASS):
        rows = slice(a, a + _PASS)
        part = None if weight is None else weight[:, rows]
        count = counted.new_full((1, 1), len(x[rows])) if part is None else part.sum(1, keepdim=True)
        total += gradient(rows, part) * count
        counted += count
    return total / counted.clamp(min=1)


def _advance(
    run: _Run, packed: Tensor, widths: Sequence[int], step: int, seen: int, count: int, room: int, workers: Workers
) -> None:
    """Take `count` steps in every world; changes `packed`."""
    pieces = [slice(a, min(a + room, len(packed))) for a in range(0, len(packed), room)]

    def work(piece: slice) -> Tensor:
        return halving(lambda rows: _steps(run, packed[rows], rows, widths, step, seen, count), piece)

    for piece, result in zip(pieces, workers.map(work, pieces), strict=True):
        packed[piece] = result


def _steps(run: _Run, packed: Tensor, rows: slice, widths: Sequence[int], step: int, seen: int, count: int) -> Tensor:
    """The rows `packed` after `count` steps; a new tensor, so that a piece that ran out of memory can begin again."""
    theta, *means = (part.clone(memory_format=torch.contiguous_format) for part in packed.split(list(widths), 1))
    weight = None if run.weight is None else run.weight[rows]
    descent, p, update = run.descent, run.formulation.net.p, _UPDATES[run.descent.optimizer][0]
    decay = descent.penalty(theta, p)
    full = descent.batch_size is None or descent.batch_size >= len(run.x)
    if descent.optimizer == "gd" and full and len(run.x) <= _PASS and not run.formulation.net.draws:
        for lr, repeats in _rates(descent, step, count):
            theta = run.formulation.descend(theta, run.x, run.y, weight, repeats, lr, decay)
        return theta
    for i, batch in enumerate(descent.batches(len(run.x), run.seed, step, count)):
        x, y, w = run.x, run.y, weight
        if batch is not None:
            batch = batch.to(x.device, non_blocking=True)
            x, y, w = x[batch], y[batch], None if w is None else w[:, batch]
        gradient = mean_gradient(run.formulation, theta, x, y, w, partial(step_seed, run.seed, step=step + i))
        if decay is not None:
            gradient = gradient.addcmul(theta[:, :p], decay)
        update(theta[:, :p], gradient, means, descent, descent.lr_at(step + i), seen + i + 1)
    return torch.cat([theta, *means], 1)


def _rates(descent: Descent, step: int, count: int) -> Iterator[tuple[float, int]]:
    """Learning rates from `step` on and for how many of `count` steps each holds."""
    end = step + count
    while step < end:
        until = min([end, *(at for at, _ in descent.drops if at > step)])
        yield descent.lr_at(step), until - step
        step = until


_Update = Callable[[Tensor, Tensor, Sequence[Tensor], Descent, float, int], None]


def _gd(w: Tensor, gradient: Tensor, means: Sequence[Tensor], descent: Descent, lr: float, count: int) -> None:
    w.sub_(gradient, alpha=lr)


def _momentum(w: Tensor, gradient: Tensor, means: Sequence[Tensor], descent: Descent, lr: float, count: int) -> None:
    w.sub_(means[0].mul_(descent.momentum).add_(gradient), alpha=lr)


def _nesterov(w: Tensor, gradient: Tensor, means: Sequence[Tensor], descent: Descent, lr: float, count: int) -> None:
    velocity = means[0].mul_(descent.momentum).add_(gradient)
    w.sub_(gradient.add(velocity, alpha=descent.momentum), alpha=lr)


def _adam(w: Tensor, gradient: Tensor, means: Sequence[Tensor], descent: Descent, lr: float, count: int) -> None:
    """Beta = (0.9, 0.999), eps = 1e-8; `count` = 1 in the first step."""
    mean, square = means
    mean.lerp_(gradient, 1 - 0.9)
    square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
    root = square.sqrt().div_(math.sqrt(1 - 0.999**count)).add_(1e-8)
    w.addcdiv_(mean, root, value=-lr / (1 - 0.9**count))


def _rmsprop(w: Tensor, gradient: Tensor, means: Sequence[Tensor], descent: Descent, lr: float, count: int) -> None:
    """Alpha = 0.99, eps = 1e-8, not centred."""
    means[0].mul_(0.99).addcmul_(gradient, gradient, value=1 - 0.99)
    w.addcdiv_(gradient, means[0].sqrt().add_(1e-8), value=-lr)


_UPDATES: dict[str, tuple[_Update, int]] = {
    "gd": (_gd, 0),
    "momentum": (_momentum, 1),
    "nesterov": (_nesterov, 1),
    "adam": (_adam, 2),
    "rmsprop": (_rmsprop, 1),
}
"""Optimiser -> its update in place, and how many running means it keeps."""
