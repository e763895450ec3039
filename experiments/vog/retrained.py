"""Training anew without something: the change of the mean test loss in every world, its floor and its ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import Observer, simulate
from experiments.core.engine.truth import moved, truth
from experiments.core.engine.worlds import BASE, World
from experiments.core.study.federated import checkpoint, initial_module, progress_of
from experiments.vog.blocks import side_by_side
from experiments.vog.study import Study

_Floats = NDArray[np.float64]


def changes(study: Study, worlds: Sequence[World], name: str, what: str, observers: Sequence[Observer] = ()) -> _Floats:
    """The change of the mean test loss in each of the worlds, in nats: [W]. Positive: what is left out helped.

    In stacks of bounded size; the base world stands in each (law 2).

    Args:
        study: what is trained. worlds: without the base world. name: of the checkpoints. what: is told as progress.
        observers: watch the base world of the first stack.
    """
    return _changes(study, study.problem, study.start, worlds, name, what, observers)


def changes_of_next_seed(study: Study, worlds: Sequence[World], name: str, what: str) -> _Floats:
    """The same of what the next seed trains: the same data and model, other initial weights, batches and noise.

    No claim on a truth agrees better with it than this, but by chance (law 6).
    """
    spec, problem, seed = study.spec, study.problem, study.seed + 1
    data = problem.federation
    module = initial_module(spec.model, spec.init, seed, tuple(data.x.shape[1:]), data.classes, study.context)
    start = replace(problem.net, module=module).flat().to(study.start)
    schedule = draw_schedule(seed, len(data.sizes), spec.clients_per_round, spec.rounds)
    return _changes(study, replace(problem, seed=seed, schedule=schedule), start, worlds, name, what)


def null_changes(study: Study, count: int, name: str = "null") -> _Floats:
    """The change in worlds that leave nothing out, from initial weights moved by rounding: [count]."""
    p, states = study.problem.net.p, [study.final]
    for draw in range(count):
        start = moved(study.start, p, draw)
        states += _trained(study, study.problem, [BASE], start, f"{name}-{draw:02d}", "rounds, null world")
    null = truth(study.formulation, torch.stack(states), study.problem.federation, study.workers)
    return null.loss.double().cpu().numpy()


def _changes(
    study: Study,
    problem: Problem,
    start: Tensor,
    worlds: Sequence[World],
    name: str,
    what: str,
    observers: Sequence[Observer] = (),
) -> _Floats:
    found, size = [], side_by_side(problem.net.size)
    for first in range(0, len(worlds), size):
        stack = worlds[first : first + size]
        told = f"rounds, {what}, {first + 1} to {first + len(stack)} of {len(worlds)}"
        watched = observers if not first else ()
        states = _trained(study, problem, [BASE, *stack], start, f"{name}-{first:05d}", told, watched)
        found.append(truth(study.formulation, states, problem.federation, study.workers).loss.double().cpu().numpy())
    return np.concatenate(found)


def _trained(
    study: Study,
    problem: Problem,
    worlds: Sequence[World],
    start: Tensor,
    name: str,
    what: str,
    observers: Sequence[Observer] = (),
) -> Tensor:
    """The last states of the worlds: [W, size]."""
    return simulate(
        problem,
        worlds,
        start,
        study.formulation,
        observers=observers,
        threads=study.context.threads,
        checkpoint=checkpoint(study.spec, study.context, name),
        progress=progress_of(study.context, what),
    )
