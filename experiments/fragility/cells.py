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
_DRIFT = 0.1  # of the spread: a larger drift says that the optimum had not been reached

Sets = dict[tuple[str, str], list[int]]


def cells(spec: FragilitySpec) -> list[Cell]:
    """The cells of one setting: every point of the grid, every seed."""
    return cells_of(PAPER, spec, cost, compute, spec.grid, ORDER, WORDS)


def compute(spec: FragilitySpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train to the optimum, estimate influences, train without the candidates, correlate."""
    problem = _built(spec, seed, context)
    found = rows.Rows(point)
    with Workers(context.threads) as workers:
        optimum = train(problem, context, workers)
        _describe(found, problem, optimum, workers, context)
        tests = _test_points(found, problem, optimum)
        context.partial([{**problem.columns, **row} for row in found.rows])
        made = estimate(problem, optimum.theta, list(tests.values()), context)
        rows.of_methods(found, made, tests)
        if made:
            context.partial([{**problem.columns, **row} for row in found.rows])
            sets = candidate_sets(problem, list(tests), made[0])
            _compare(Study(problem, optimum, tests, made, sets, found, context, workers))
    return [{**problem.columns, **row} for row in found.rows]


def _built(spec: FragilitySpec, seed: int, context: Context) -> Problem:
    """The setting made ready.

    Raises:
        MissingError, SpecError: as `central.build`; or there are more candidates than samples.
    """

    def held(p: int) -> int:
        return of_methods(spec, p)

    without = "".join(f"leave `{m.called}` out of methods, or " for m in spec.methods if m.memory(1))
    problem = build(spec, seed, worlds_of(spec), context, held, f"{without}{LOWER}")
    for candidates in spec.candidates:
        if (candidates.count or 0) > problem.n:
            what = f"{candidates.count} candidates, but there are {problem.n} training samples"
            raise SpecError(what, "candidates.count")
    return problem


def _describe(found: rows.Rows, problem: Problem, optimum: Optimum, workers: Workers, context: Context) -> None:
    """How well the model was trained, and how curved the objective is there."""
    facts = described(problem, optimum, workers)
    most = 5 if problem.spec.scale == "smoke" else 100 if problem.net.p <= _LARGE else 20
    top, _ = top_eigenvalue(problem.some(_CURVATURE), optimum.theta, most=most, seed=problem.seed)
    measured = {**facts, "damping": problem.spec.effective_damping, "top_eigenvalue": top}
    for name, value in measured.items():
        found.add("train", name, value, "s" if name == "seconds" else "")
    judged = (facts["test_loss"], facts["test_accuracy"])
    found.rows += quality(problem.net, problem.data, *judged, context, found.point)
    warn = _warner(problem, context)
    if not facts["converged"]:
        warn(
            f"not converged: gradient norm {optimum.gradient_norm:.3g} after {optimum.step} steps; "
            "raise train.steps, or train.optimizer=lbfgs for a smooth model"
        )
    if facts["constant_output"]:
        warn("the outputs do not depend on the input: correlations are undefined here")


def _warner(problem: Problem, context: Context) -> Callable[[str], None]:
    """A smoke run never converges: there it is worth a line in the log only."""
    return context.log if problem.spec.scale == "smoke" else context.warn


def _test_points(found: rows.Rows, problem: Problem, optimum: Optimum) -> dict[str, int]:
    """The test points, with a row each."""
    data = problem.data
    parts = zip(data.test_x.split(512), data.test_y.split(512), strict=True)
    losses = np.concatenate(
        [sample_losses(problem.frozen_way, optimum.theta[None], x, y)[0].double().cpu().numpy() for x, y in parts]
    )
    tests = points.test_points(problem.spec.test_points, losses)
    for name, index in tests.items():
        found.add("test", "test_index", index, test=name)
        if problem.test_lines is not None:
            found.add("test", "test_line", float(problem.test_lines[index]), "line", test=name)
        found.add("test", "test_label", label_of(data.test_y[index]), test=name)
        found.add("test", "test_point_loss", losses[index], "nats", test=name)
        below = float(np.mean(losses < losses[index])) * 100
        found.add("test", "test_percentile", below, "percentile", test=name)
    return tests


@dataclass(frozen=True)
class Study:
    """A trained model, what the methods say of it, and where the findings go.

    Attributes:
        tests: test point -> test sample. made: the methods' answers, the first of which picks candidates.
        sets: (test point, set) -> training rows.
    """

    problem: Problem
    optimum: Optimum
    tests: dict[str, int]
    made: list[Estimate]
    sets: Sets
    found: rows.Rows
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
    """Truth for the union of all candidates and groups, and every score."""
    spec, found, names = study.problem.spec, study.found, list(study.tests)
    first = study.made[0].influence
    held: Groups = removal.groups(spec.groups, first[0], study.problem.seed) if spec.groups else {}
    truth = study.truth(worlds_without(study.union, held))
    rows.of_samples(found, study.made, names, _of_test(study.sets, names))
    if study.problem.lines is not None:
        rows.of_lines(found, study.problem.lines, study.union)
    predicted = _norms(study) if spec.norms else {}
    for name, count in {name: len(chosen) for (_, name), chosen in study.sets.items()}.items():
        found.add("data", "candidate_share", count / study.problem.n, set=name)
    _score(study, truth, predicted, "retrain", "")
    if held:
        rows.of_groups(found, study.made, truth, names, held)
    _warn_drift(study, truth)
    before, after = (top5(study.problem, theta) for theta in (study.optimum.theta, truth.states[0]))
    found.add("retrain", "test_accuracy_top5", after)
    found.add("retrain", "test_accuracy_top5_gain", after - before)
    if spec.several:
        _several(study, truth)
    if spec.images:
        keep_images(found, study.problem, study.tests, study.made[0], study.context)
    if spec.retrain.scratch:
        again = study.truth(worlds_without(study.union, {}), scratch=True)
        _score(study, again, predicted, "scratch", "scratch")
        apart = (again.states[1:] - truth.states[1 : len(again.states)])[:, : study.problem.net.p].norm(dim=1)
        for i, distance in zip(study.union, apart.tolist(), strict=True):
            found.add("scratch", "distance", distance, train=i)


def _score(study: Study, truth: Truth, predicted: dict[str, dict[int, float]], method: str, source: str) -> None:
    """Rows of one truth, and all correlations with it. source: the word `truth=` of their subjects."""
    names = list(study.tests)
    own = {key: chosen for key, chosen in study.sets.items() if key[0] != SEVERAL}
    rows.of_truth(study.found, truth, names, _of_test(study.sets, names), method)
    rows.of_correlations(study.found, study.made, truth, names, own, source)
    for name, norms in predicted.items():
        rows.of_norms(study.found, name, norms, truth, own, source)


def _of_test(sets: Sets, tests: list[str]) -> dict[str, list[int]]:
    """Test point -> its candidates of all sets."""
    return {
        test: sorted({i for (of, _), chosen in sets.items() if of in (test, SEVERAL) for i in chosen}) for test in tests
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
    study.found.add(SEVERAL, "test_points", len(study.problem.spec.several))
    places = [names.index(name) for name in study.problem.spec.several]
    for (of, chosen), held in study.sets.items():
        if of == SEVERAL:
            actual = [float(truth.loss[sample_label(i)][places].mean()) for i in held]
            guessed = [float(study.made[0].influence[places, i].mean()) for i in held]
            study.found.scores(SEVERAL, guessed, actual, set=chosen)


def _norms(study: Study) -> dict[str, dict[int, float]]:
    """Predicted norms of the parameters' change, by the first method."""
    first = study.made[0]
    values = norms_of_change(study.problem, study.optimum.theta, first, study.union)
    return {first.method: dict(zip(study.union, values.tolist(), strict=True))}


def _warn_drift(study: Study, truth: Truth) -> None:
    """Subtracting the drift changes no correlation; but where it is not small, the optimum was none."""
    worst, most = "", _DRIFT
    for (of, _), chosen in study.sets.items():
        if of != SEVERAL:
            t = list(study.tests).index(of)
            spread = float(np.std([truth.loss[sample_label(i)][t] for i in chosen]))
            if spread > 0 and abs(truth.drift[t]) / spread > most:
                worst, most = of, abs(float(truth.drift[t])) / spread
    if worst:
        _warner(study.problem, study.context)(
            f"test point {worst}: the loss drifts by {most:.2g} of the differences' spread although nothing is "
            "removed: not converged; raise train.steps"
        )
