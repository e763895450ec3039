"""What single samples look like to a model at its checkpoints, in passes of bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import Trail

Read = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A state theta [size], inputs x [m, ...] and their labels y [m] -> a number for each: [m]."""


def read_at(trail: Trail, states: Tensor, read: Read, progress: Progress) -> Tensor:
    """`read` of every sample at each of `states` [M, size]: [M, n]."""
    n, rows_read = len(trail.y), []
    for i, theta in enumerate(states):
        found = []
        for rows in trail.parts():
            found.append(read(theta, *trail.pair(rows)))
            progress(i * n + rows.stop, len(states) * n)
        rows_read.append(torch.cat(found))
    return torch.stack(rows_read)


def losses(trail: Trail) -> Read:
    """The loss of each sample, in nats."""

    def read(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return trail.net.losses(trail.net.call(theta, x), y)

    return read


def errors(trail: Trail) -> Read:
    """||softmax(f(x)) - onehot(y)||_2 (Paul et al. 2021, Definition 4.1)."""

    def read(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            outputs = trail.net.call(theta, x)
            return (F.softmax(outputs, -1) - F.one_hot(y, outputs.shape[-1])).norm(dim=-1)

    return read


def right(trail: Trail) -> Read:
    """Whether the largest output is the label's: 0 or 1."""

    def read(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return (trail.net.call(theta, x).argmax(-1) == y).long()

    return read


def gradient_norms(trail: Trail) -> Read:
    """Norm of the gradient of each sample's loss in all trained parameters, unclipped and without noise."""
    from experiments.core.engine.clipped import sample_norms

    def read(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return sample_norms(trail.net, theta, x, y)

    return read


def forgotten(correct: Tensor) -> Tensor:
    """How often each sample is forgotten (Toneva et al. 2019, Definition 1), in checkpoints [K, n] of 0 and 1: [n].

    An event is a checkpoint at which a sample is wrong that was right at the one before. A sample that was never right
    has no events and is the least learnt of all (there: infinitely many): it gets one more than the most that any
    sample has.
    """
    events = ((correct[1:] == 0) & (correct[:-1] == 1)).sum(0)
    never = correct.sum(0) == 0
    return torch.where(never, events.max() + 1, events)
