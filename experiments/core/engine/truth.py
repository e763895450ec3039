"""Ground truth from worlds: each world's difference to the base world, made by the same kernels (law 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.simulate import Round


@dataclass(frozen=True)
class Truth:
    """What leaving something out did to the model, for each world but the base world, in their order.

    Attributes:
        base_loss, base_accuracy: of the base world on the test set.
        loss: [W - 1] change of test loss (positive: what was left out helped).
        accuracy: [W - 1] change of test accuracy, in shares of 1.
    """

    base_loss: float
    base_accuracy: float
    loss: Tensor
    accuracy: Tensor


def truth(formulation: Formulation, states: Tensor, federation: Federation, workers: Workers) -> Truth:
    """Differences of loss and accuracy for `states` [W, size], the base world in row 0.

    A world that has not left the base world differs by zero and not by a rounding error: only the others are evaluated.
    """
    own = (states != states[0]).any(1)
    own[0] = True
    scores = evaluate(formulation, states[own], federation.test_x, federation.test_y, workers)
    change = torch.zeros(2, len(states), dtype=scores.loss.dtype, device=states.device)
    change[0, own] = scores.loss - scores.loss[0]
    change[1, own] = scores.accuracy - scores.accuracy[0]
    return Truth(float(scores.loss[0]), float(scores.accuracy[0]), change[0, 1:], change[1, 1:])


def parameter_change(states: Tensor) -> Tensor:
    """epsilon_t^{-c,*} = w_t(without c) - w_t (Eq. 5 of Xue et al. 2021): [W, size] -> [W - 1, size]."""
    return states[1:] - states[0]


Step = Callable[[Tensor, Tensor], Tensor]


def without_each(record: Round, aggregate: Step | None = None) -> Tensor:
    """The aggregates of a round, had one participant been left out of this round: [K, size], in their order.

    Until its local training a round is the same in these worlds, so nothing is trained again: the others' local models
    are averaged anew, sum_{j != k} n_j theta_j / (N - n_k) (Eq. 4 of Xue et al. 2021). Compare with `record.aggregate`;
    with privacy all worlds then get the same noise, `record.after - record.aggregate`.

    Args:
        record: a round of the base world.
        aggregate: `Algorithm.aggregate` of an algorithm whose step is more than the mean.

    Returns:
        The states. A round's only participant leaves the model as it was before (and without noise).
    """
    return _without(record, aggregate, slice(0, len(record.sizes)))


def without_one_by_one(record: Round, aggregate: Step | None = None) -> Iterator[Tensor]:
    """The rows of `without_each`, [size] each, one at a time: for models of which K do not fit into memory again."""
    for place in range(len(record.sizes)):
        yield _without(record, aggregate, slice(place, place + 1))[0]


def _without(record: Round, aggregate: Step | None, some: slice) -> Tensor:
    """The worlds without the participants `some`, [some, size]."""
    weight = record.sizes.repeat(len(record.sizes), 1).fill_diagonal_(0)[some]
    start = record.before.expand(len(weight), -1)
    if len(record.sizes) == 1:
        return start.clone()
    mean = (weight / weight.sum(1, keepdim=True)) @ record.locals
    return mean if aggregate is None else aggregate(start, mean)
