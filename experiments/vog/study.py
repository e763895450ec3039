"""A finished training whose samples are scored: what everything that is measured afterwards is given."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.data.faults import wrong_labels
from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.errors import SpecError
from experiments.core.estimators.sample_score import SampleScore, Trail
from experiments.core.scores.per_class import scaled
from experiments.core.study.federated import checkpoint
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Context
from experiments.vog.checkpoints import Checkpoints
from experiments.vog.faulty import spoilt
from experiments.vog.spec import VogSpec


@dataclass(frozen=True)
class Study:
    """A training and its scores.

    Attributes:
        spec: at this point of the grid. point: the point's label, with which all subjects begin. seed: of the run.
        problem: what was trained, labels as trained with. start: [size] the initial state. final: [size] the last one.
        formulation, workers, context: how and where to compute more.
        kept: the states after the rounds that `spec` names. flipped: [n] bool, whose label was planted.
        raw: method -> scores [n] float64 of the whole run. seconds: method -> what they took.
    """

    spec: VogSpec
    point: str
    seed: int
    problem: Problem
    start: Tensor
    final: Tensor
    formulation: Formulation
    workers: Workers
    context: Context
    kept: Checkpoints
    flipped: Tensor
    raw: dict[str, Tensor]
    seconds: dict[str, float]

    @property
    def labels(self) -> Tensor:
        """[n] the labels that were trained with, on the CPU."""
        return self.problem.federation.y.cpu()

    def rows(self) -> Rows:
        """Empty rows of this point."""
        return Rows(self.point)

    def trail(self, until: int | None = None) -> Trail:
        """The checkpoints of the whole run, or of its first `until` rounds."""
        return trail_of(self.spec, self.problem, self.kept, until)

    def scaled(self, scores: Tensor) -> NDArray[np.float64]:
        """Scores [n] scaled within each class, as the spec says; NaN in a class where that is undefined."""
        return scaled(scores, self.labels, self.spec.scaling)[0]

    def warn(self, line: str) -> None:
        """Warn; a smoke run is too short for what a warning says: it only gets a line in the log."""
        (self.context.log if self.spec.scale == "smoke" else self.context.warn)(line)

    def say_unscaled(self, scores: Mapping[str, Tensor], of: str) -> None:
        """Warn of classes whose scores have no scale (a smoke run: into the log); `of` says which scores they are."""
        for name, values in scores.items():
            faults = scaled(values, self.labels, self.spec.scaling)[1]
            more = f", and in {len(faults) - 1} more" if faults[1:] else ""
            if faults:
                self.warn(f"{name} {of}: {faults[0]}{more}; such samples are ranked last")

    def scored(self, trail: Trail, name: str) -> dict[str, Tensor]:
        """The scores [n] of every method on another trail, stored under `name` as they come."""
        return scored(self.spec, trail, self.context, name)[0]


def trail_of(spec: VogSpec, problem: Problem, kept: Checkpoints, until: int | None = None) -> Trail:
    """The checkpoints that are scored of a run of `until` rounds (None: all), with all training samples."""
    rounds, data = spec.kept(until), problem.federation
    return Trail(problem.net, kept.of(rounds, problem.net.flat()), rounds, data.x, data.y, data.classes)


def scored(
    spec: VogSpec, trail: Trail, context: Context, name: str = "scores"
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Method -> its scores [n], method -> seconds. Each is stored when it is done: a kill loses the one in progress."""
    raw: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    for method in spec.methods:
        saved = checkpoint(spec, context, f"{name}-{method.called}")
        content = saved.load()
        if content is None:
            content = _computed(method, trail, context)
            saved.save(content)
        raw[method.called], seconds[method.called] = content["scores"], content["seconds"]
    return raw, seconds


def _computed(method: SampleScore, trail: Trail, context: Context) -> dict[str, Any]:
    begun = time.perf_counter()

    def progress(done: int, total: int) -> None:
        context.progress(f"samples, {method.called}", done, total)

    scores = method.scores(trail, progress)
    return {"scores": scores, "seconds": time.perf_counter() - begun}


def planted(spec: VogSpec, problem: Problem) -> tuple[Problem, Tensor]:
    """The problem with wrong labels on a share of its training samples, and which these are, [n] bool on the CPU.

    They are the same for every seed, as the data are: another seed's scores are of the same samples and labels.
    """
    flipped = torch.zeros(len(problem.federation.y), dtype=torch.bool)
    if spec.planted:
        federation, flipped = wrong_labels(problem.federation, spec.planted)
        problem = replace(problem, federation=federation)
    if spec.rewards is not None:
        problem, wrong = spoilt(spec.rewards, problem)
        flipped |= wrong
    return problem, flipped


def require_classes(problem: Problem) -> None:
    """Refuse what has no classes.

    Raises:
        SpecError: the data have numbers to predict.
    """
    if problem.federation.predicts_numbers:
        what = f"{problem.federation.name} has numbers to predict, and scores are compared within classes"
        raise SpecError(what, "data", "bring data with classes, or set data.target: class")
