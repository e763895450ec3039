"""The cells of Basu et al. 2021: one per point of a setting's grid and seed. Train, estimate, leave out, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import sample_losses
from experiments.core.engine.worlds import World
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.lanczos import top_eigenvalue
from experiments.core.memory import LOWER
from experiments.core.study import points, removal
from experiments.core.study.cells import cells_of
from experiments.core.study.central import build, label_of
from experiments.core.study.optimum import Optimum, described, top5, train
from experiments.core.study.quality import quality
from experiments.core.study.retraining import Groups, Truth, retrain, sample_label
from experiments.core.study.retraining import worlds_of as worlds_without
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.fragility import PAPER, rows
from experiments.fragility.estimate import estimate as cost
from experiments.fragility.estimate import of_methods, worlds_of
from experiments.fragility.estimates import Estimate, Problem, estimate, norms_of_change
from experiments.fragility.images import keep_images
from experiments.fragility.spec import ORDER, WORDS, FragilitySpec

SEVERAL = "several"
_CURVATURE = 1000  # samples from which the top eigenvalue is measured
_LARGE = 1_000_000  # parameters above which fewer Lanczos vectors are kept
_DRIFT = 0.1  # of the spread: a larger drift means that training stopped short of the optimum

Sets = dict[tuple[str, str], list[int]]


def cells(spec: FragilitySpec) -> list[Cell]:
    """The cells of one setting: every point of the grid, every seed."""
    return cells_of(PAPER, spec, cost, compute, spec.grid, ORDER, WORDS)


def compute(spec: FragilitySpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train to the optimum, estimate influences, train without the candidates, correlate."""
    problem = _built(spec, seed, context)
    metrics = rows.Rows(point)
    with Workers(context.threads) as workers:
        optimum = train(problem, context, workers)
        _describe(metrics, problem, optimum, workers, context)
        tests = _test_points(metrics, problem, optimum)
        context.partial([{**problem.columns, **row} for row in metrics.rows])
        estimates = estimate(problem, optimum.theta, list(tests.values()), context)
        rows.of_methods(metrics, estimates, tests)
        if estimates:
            context.partial([{**problem.columns, **row} for row in metrics.rows])
            sets = candidate_sets(problem, list(tests), estimates[0])
            _compare(Study(problem, optimum, tests, estimates, sets, metrics, context, workers))
    return [{**problem.columns, **row} for row in metrics.rows]


def _built(spec: FragilitySpec, seed: int, context: Context) -> Problem:
    """The data, the model and the objective of a setting.

    Raises:
        MissingError, SpecError: as `central.build`; or there are more candidates than samples.
    """

    def bytes_held(p: int) -> int:
        return of_methods(spec, p)

    without = "".join(f"leave `{m.called}` out of methods, or " for m in spec.methods if m.memory(1))
    problem = build(spec, seed, worlds_of(spec), context, bytes_held, f"{without}{LOWER}")
    for candidates in spec.candidates:
        if (candidates.count or 0) > problem.n:
            what = f"{candidates.count} candidates, but there are {problem.n} training samples"
            raise SpecError(what, "candidates.count")
    return problem


def _describe(metrics: rows.Rows, problem: Problem, optimum: Optimum, workers: Workers, context: Context) -> None:
    """How well the model was trained, and how curved the objective is at the optimum."""
    facts = described(problem, optimum, workers)
    most = 5 if problem.spec.scale == "smoke" else 100 if problem.net.p <= _LARGE else 20
    top, _ = top_eigenvalue(problem.some(_CURVATURE), optimum.theta, most=most, seed=problem.seed)
    measured = {**facts, "damping": problem.spec.effective_damping, "top_eigenvalue": top}
    for name, value in measured.items():
        metrics.add("train", name, value, "s" if name == "seconds" else "")
    judged = (facts["test_loss"], facts["test_accuracy"])
    metrics.rows += quality(problem.net, problem.data, *judged, context, metrics.point)
    warn = _warner(problem, context)
    if not facts["converged"]:
        warn(
            f"not converged: gradient norm {optimum.gradient_norm:.3g} after {optimum.step} steps; "
            "raise train.steps, or train.optimizer=lbfgs for a smooth model"
        )
    if facts["constant_output"]:
        warn("the outputs do not depend on the input: correlations are undefined here")


def _warner(problem: Problem, context: Context) -> Callable[[str], None]:
    """How to warn: a smoke run never converges, so it only gets a line in the log."""
    return context.log if problem.spec.scale == "smoke" else context.warn


def _test_points(metrics: rows.Rows, problem: Problem, optimum: Optimum) -> dict[str, int]:
    """Test point -> test sample; adds the rows that describe each."""
    data = problem.data
    parts = zip(data.test_x.split(512), data.test_y.split(512), strict=True)
    losses = np.concatenate(
        [sample_losses(problem.frozen_way, optimum.theta[None], x, y)[0].double().cpu().numpy() for x, y in parts]
    )
    tests = points.test_points(problem.spec.test_points, losses)
    for name, index in tests.items():
        metrics.add("test", "test_index", index, test=name)
        if problem.test_lines is not None:
            metrics.add("test", "test_line", float(problem.test_lines[index]), "line", test=name)
        metrics.add("test", "test_label", label_of(data.test_y[index]), test=name)
        metrics.add("test", "test_point_loss", losses[index], "nats", test=name)
        below = float(np.mean(losses < losses[index])) * 100
        metrics.add("test", "test_percentile", below, "percentile", test=name)
    return tests


@dataclass(frozen=True)
class Study:
    """A trained model, the influences estimated on it, and the rows of the cell.

    Attributes:
        tests: test point -> test sample. estimates: one a method, the first of which picks the candidates.
        sets: (test point, set) -> training rows. metrics: the rows of the cell so far.
    """

    problem: Problem
    optimum: Optimum
    tests: dict[str, int]
    estimates: list[Estimate]
    sets: Sets
    metrics: rows.Rows
    context: Context
    workers: Workers

    @property
    def union(self) -> list[int]:
        """Every training sample whose removal is tried."""
        return sorted({i for chosen in self.sets.values() for i in chosen})

    def truth(self, worlds: list[World], scratch: bool = False) -> Truth:
        """Train the worlds and measure the test points."""
        return retrain(
            self.problem, self.optimum, worlds, list(self.tests.values()), self.context, self.workers, scratch
        )


def _compare(study: Study) -> None:
    """Retrain without every candidate and every group, and score the estimates against the result."""
    spec, metrics, names = study.problem.spec, study.metrics, list(study.tests)
    first = study.estimates[0].influence
    groups: Groups = removal.groups(spec.groups, first[0], study.problem.seed) if spec.groups else {}
    truth = study.truth(worlds_without(study.union, groups))
    rows.of_samples(metrics, study.estimates, names, _of_test(study.sets, names))
    if study.problem.lines is not None:
        rows.of_lines(metrics, study.problem.lines, study.union)
    predicted = _norms(study) if spec.norms else {}
    for name, count in {name: len(chosen) for (_, name), chosen in study.sets.items()}.items():
        metrics.add("data", "candidate_share", count / study.problem.n, set=name)
    _score(study, truth, predicted, "retrain", "")
    if groups:
        rows.of_groups(metrics, study.estimates, truth, names, groups)
    _warn_drift(study, truth)
    before, after = (top5(study.problem, theta) for theta in (study.optimum.theta, truth.states[0]))
    metrics.add("retrain", "test_accuracy_top5", after)
    metrics.add("retrain", "test_accuracy_top5_gain", after - before)
    if spec.several:
        _several(study, truth)
    if spec.images:
        keep_images(metrics, study.problem, study.tests, study.estimates[0], study.context)
    if spec.retrain.scratch:
        from_scratch = study.truth(worlds_without(study.union, {}), scratch=True)
        _score(study, from_scratch, predicted, "scratch", "scratch")
        moved = from_scratch.states[1:] - truth.states[1 : len(from_scratch.states)]
        distances = moved[:, : study.problem.net.p].norm(dim=1)
        for i, distance in zip(study.union, distances.tolist(), strict=True):
            metrics.add("scratch", "distance", distance, train=i)


def _score(study: Study, truth: Truth, predicted: dict[str, dict[int, float]], method: str, source: str) -> None:
    """Rows of one truth, and all correlations with it. source: the value of `truth=` in their subjects."""
    names = list(study.tests)
    sets = {key: chosen for key, chosen in study.sets.items() if key[0] != SEVERAL}
    rows.of_truth(study.metrics, truth, names, _of_test(study.sets, names), method)
    rows.of_correlations(study.metrics, study.estimates, truth, names, sets, source)
    for name, norms in predicted.items():
        rows.of_norms(study.metrics, name, norms, truth, sets, source)


def _of_test(sets: Sets, tests: list[str]) -> dict[str, list[int]]:
    """Test point -> its candidates of all sets."""
    return {
        test: sorted({i for (named, _), chosen in sets.items() if named in (test, SEVERAL) for i in chosen})
        for test in tests
    }


def candidate_sets(problem: Problem, tests: list[str], first: Estimate) -> Sets:
    """(test point, set) -> training rows; SEVERAL stands for the mean over its test points."""
    spec = problem.spec
    influence = dict(zip(tests, first.influence, strict=True))
    if spec.several:
        influence[SEVERAL] = np.mean([influence[name] for name in spec.several], axis=0)
    return {
        (test, chosen.label): removal.candidates(chosen, values, problem.seed)
        for test, values in influence.items()
        for chosen in spec.candidates
        if test != SEVERAL or chosen.pick == "top"
    }


def _several(study: Study, truth: Truth) -> None:
    """Section 9.12: the mean loss of several test points, estimated and measured."""
    names = list(study.tests)
    study.metrics.add(SEVERAL, "test_points", len(study.problem.spec.several))
    positions = [names.index(name) for name in study.problem.spec.several]
    for (test, set_name), candidates in study.sets.items():
        if test == SEVERAL:
            measured = [float(truth.loss[sample_label(i)][positions].mean()) for i in candidates]
            estimated = [float(study.estimates[0].influence[positions, i].mean()) for i in candidates]
            study.metrics.scores(SEVERAL, estimated, measured, set=set_name)


def _norms(study: Study) -> dict[str, dict[int, float]]:
    """Predicted norms of the parameters' change, by the first method."""
    first = study.estimates[0]
    values = norms_of_change(study.problem, study.optimum.theta, first, study.union)
    return {first.method: dict(zip(study.union, values.tolist(), strict=True))}


def _warn_drift(study: Study, truth: Truth) -> None:
    """Subtracting the drift changes no correlation; but one that is not small means that training had not converged."""
    worst, most = "", _DRIFT
    for (test, _), chosen in study.sets.items():
        if test != SEVERAL:
            t = list(study.tests).index(test)
            spread = float(np.std([truth.loss[sample_label(i)][t] for i in chosen]))
            if spread > 0 and abs(truth.drift[t]) / spread > most:
                worst, most = test, abs(float(truth.drift[t])) / spread
    if worst:
        _warner(study.problem, study.context)(
            f"test point {worst}: the loss drifts by {most:.2g} of the differences' spread although nothing is "
            "removed: not converged; raise train.steps"
        )
