"""Ground truth from worlds: each world's difference to the base world, made by the same kernels (law 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.seeds import stream


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
    evaluated = (states != states[0]).any(1)
    evaluated[0] = True
    scores = evaluate(formulation, states[evaluated], federation.test_x, federation.test_y, workers)
    change = torch.zeros(2, len(states), dtype=scores.loss.dtype, device=states.device)
    change[0, evaluated] = scores.loss - scores.loss[0]
    change[1, evaluated] = scores.accuracy - scores.accuracy[0]
    return Truth(float(scores.loss[0]), float(scores.accuracy[0]), change[0, 1:], change[1, 1:])


def parameter_change(states: Tensor) -> Tensor:
    """epsilon_t^{-c,*} = w_t(without c) - w_t (Eq. 5 of Xue et al. 2021): [W, size] -> [W - 1, size]."""
    return states[1:] - states[0]


def moved(start: Tensor, p: int, draw: int | None = None) -> Tensor:
    """The state [size] with its p parameters moved by one unit in the last place, and its buffers as they are.

    Training from there is the null world: nobody is left out, and what changes is what rounding alone does (law 6).
    All of them move up; with a number `draw` each up or down, another choice for every number.
    """
    towards = torch.full_like(start[:p], torch.inf)
    if draw is not None:
        down = torch.from_numpy(stream(0, "moved", draw=draw).integers(2, size=p)).bool()
        towards[down.to(start.device)] = -torch.inf
    return torch.cat([torch.nextafter(start[:p], towards), start[p:]])
