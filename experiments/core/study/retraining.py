"""The truth: training without the samples, from the optimum or from scratch, all worlds side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.descent import descend
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import sample_losses
from experiments.core.engine.newton import inverse, newton_worlds
from experiments.core.engine.worlds import BASE, World, sample_weights, without_sample, without_samples
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.explicit import hessian
from experiments.core.study.central import Problem, digest
from experiments.core.study.federated import progress_of
from experiments.core.study.optimum import Optimum, descent_of
from experiments.core.sweep.cell import Context

Groups = dict[tuple[int, int], list[int]]
_Floats = NDArray[np.float64]
_LARGEST = 4096  # parameters of a Hessian that is written out


@dataclass(frozen=True)
class Truth:
    """Measured changes against the continuation of the base world, which stands in the same stack.

    Attributes:
        loss: world's label -> [T] change of the test points' losses. norm: label -> norm of the parameters' change.
        drift: [T], change of the test points' losses by the continuation itself. drift_norm: of the parameters.
        states: [1 + worlds, size]. seconds: of retraining.
    """

    loss: dict[str, _Floats]
    norm: dict[str, float]
    drift: _Floats
    drift_norm: float
    states: Tensor
    seconds: float


def worlds_of(rows: list[int], groups: Groups) -> list[World]:
    """The base world, one world without each of `rows`, one without each group."""
    alone = [without_sample(row) for row in rows]
    return [BASE, *alone, *(without_samples(group_label(*key), held) for key, held in groups.items())]


def group_label(size: int, number: int) -> str:
    """The label of a group's world."""
    return f"group:{size}:{number}"


def sample_label(row: int) -> str:
    """The label of the world without one sample."""
    return without_sample(row).label


def retrain(
    problem: Problem, optimum: Optimum, worlds: list[World], tests: list[int], context: Context, workers: Workers,
    scratch: bool = False,
) -> Truth:  # fmt: skip
    """Train every world and measure the test points.

    With `scratch` each starts from the initial weights and takes as many steps as the base model did.
    """
    began = time.perf_counter()
    weights = sample_weights(worlds, problem.n, problem.start)
    if scratch:
        states = _descended(problem, problem.start, worlds, weights, context, workers, None, "scratch")
    elif problem.spec.retrain.method == "newton":
        states = _optima(problem, optimum, worlds, weights, context, workers)
    else:
        states = _descended(problem, optimum.theta, worlds, weights, context, workers, optimum, "retraining")
    return _measured(problem, optimum, states, worlds, tests, time.perf_counter() - began, context)


def _descended(
    problem: Problem, start: Tensor, worlds: list[World], weights: Tensor | None, context: Context, workers: Workers,
    optimum: Optimum | None, what: str,
) -> Tensor:  # fmt: skip
    spec = problem.spec
    moved = optimum is not None and spec.retrain.restore
    name = f"{what}-{digest([[world.label, world.slug] for world in worlds])}"
    ended = descend(
        problem.way if optimum is None else problem.frozen_way,
        start.expand(len(worlds), -1).contiguous(),
        problem.data.x,
        problem.data.y,
        weights,
        descent_of(problem),
        spec.train.steps if optimum is None else int(spec.retrain.steps or 1),
        problem.seed,
        workers,
        moments=optimum.moments if moved and optimum is not None else None,
        first=optimum.step if moved and optimum is not None else 0,
        checkpoint=problem.checkpoint(context, name),
        progress=progress_of(context, f"{what} steps, {len(worlds)} worlds"),
    )
    return ended.states


def _optima(
    problem: Problem,
    optimum: Optimum,
    worlds: list[World],
    weights: Tensor | None,
    context: Context,
    workers: Workers,
) -> Tensor:
    """Each world's own optimum by Newton's method from the base world's.

    Raises:
        SpecError: a model too large for it.
    """
    p = problem.net.p
    if p > _LARGEST:
        raise SpecError(f"newton writes out the Hessian of {p} parameters", "retrain.method", "use continue")
    optima = newton_worlds(
        problem.frozen_way,
        optimum.theta.expand(len(worlds), -1).contiguous(),
        problem.data.x,
        problem.data.y,
        weights,
        problem.spec.effective_decay,
        problem.mask,
        inverse(hessian(problem.objective(), optimum.theta).to(optimum.theta)),
        tol=problem.spec.train.tolerance,
        most=int(problem.spec.retrain.steps or 1),
        workers=workers,
    )
    missed = int((optima.gradient_norms > problem.spec.train.converged).sum())
    if missed:
        context.warn(f"{missed} of {len(worlds)} worlds did not reach their optimum: raise retrain.steps")
    return optima.states


def _measured(
    problem: Problem, optimum: Optimum, states: Tensor, worlds: list[World], tests: list[int], seconds: float,
    context: Context,
) -> Truth:  # fmt: skip
    x, y = problem.data.test_x[tests], problem.data.test_y[tests]
    before = sample_losses(problem.frozen_way, optimum.theta[None], x, y)[0].double().cpu()
    after = torch.cat([sample_losses(problem.frozen_way, part, x, y) for part in states.split(64)]).double().cpu()
    p = problem.net.p
    norms = torch.stack([(row[:p] - states[0, :p]).double().norm() for row in states]).cpu()
    labels = [world.label for world in worlds[1:]]
    lost = [label for label, row in zip(labels, after[1:], strict=True) if not bool(row.isfinite().all())]
    if lost:
        context.warn(f"{len(lost)} worlds diverged ({', '.join(lost[:3])}): they are left out of all correlations")
    return Truth(
        {label: (row - after[0]).numpy() for label, row in zip(labels, after[1:], strict=True)},
        {label: float(norm) for label, norm in zip(labels, norms[1:], strict=True)},
        (after[0] - before).numpy(),
        float((states[0, :p] - optimum.theta[:p]).double().norm()),
        states,
        seconds,
    )
