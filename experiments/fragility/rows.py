"""The results of a cell as rows of metrics.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.core.estimators.numerics.influence_function import group_influence
from experiments.core.scores.correlation import spearman
from experiments.core.scores.rows import agreement
from experiments.core.study.retraining import Groups, Truth, group_label, sample_label
from experiments.core.subject import subject
from experiments.core.sweep.cell import Row
from experiments.fragility.estimates import Estimate

_Floats = NDArray[np.float64]

_SOLVED = 0.01  # relative residual up to which a solution counts as exact


@dataclass
class Rows:
    """Rows whose subjects all begin with the cell's point of the grid."""

    point: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self, method: str, metric: str, value: float, unit: str = "", n: int | None = None, **words: object
    ) -> None:
        """One number; `words` complete the subject. A value that is not finite gets no row."""
        if not np.isfinite(value):
            return
        within = subject(**{key: word for key, word in words.items() if word != ""})
        about = " ".join(filter(None, [self.point, within]))
        row: Row = {"method": method, "metric": metric, "subject": about, "value": float(value)}
        self.rows.append({**row, **({"unit": unit} if unit else {}), **({"n": n} if n is not None else {})})

    def scores(self, method: str, x: Sequence[float], y: Sequence[float], prefix: str = "", **words: object) -> None:
        """Pearson and Spearman correlation of the finite pairs; no row when there are too few, or one is constant."""
        pairs = np.array([(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(a) and np.isfinite(b)])
        estimate, truth = pairs.reshape(-1, 2).T
        for metric, value, n in agreement(estimate, truth, prefix + "{}"):
            self.add(method, metric, value, "", n, **words)


def of_methods(rows: Rows, estimates: list[Estimate], tests: Iterable[str]) -> None:
    """Cost and residual of every method, and its rank correlation with the first exact one on all training samples."""
    solved = [e for e in estimates if e.solves and float(e.solution.residual.max()) <= _SOLVED]
    exact = solved[0] if solved else None
    for estimate in estimates:
        for fact, value in estimate.solution.facts.items():
            rows.add(estimate.method, fact, value)
        for t, test in enumerate(tests):
            rows.add(estimate.method, "influence_seconds", estimate.seconds / len(estimate.influence), "s", test=test)
            rows.add(estimate.method, "residual", float(estimate.solution.residual[t]), test=test)
            rows.add(estimate.method, "iterations", float(estimate.solution.iterations), test=test)
            if exact is not None and exact is not estimate and len(exact.influence[t]) > 2:
                rho = spearman(exact.influence[t], estimate.influence[t])
                rows.add(estimate.method, "spearman_exact", rho.value, n=rho.n, test=test)
            for iteration, norms in estimate.solution.curve:
                rows.add(estimate.method, "norm_curve", float(norms[t]), test=test)
                rows.rows[-1]["round"] = iteration


def of_samples(rows: Rows, estimates: list[Estimate], tests: Sequence[str], sets: dict[str, list[int]]) -> None:
    """The influence of every candidate. sets: test point -> candidates."""
    for estimate in estimates:
        for t, test in enumerate(tests):
            for i in sets[test]:
                rows.add(estimate.method, "influence", estimate.influence[t, i], "nats", test=test, train=i)


def of_truth(rows: Rows, truth: Truth, tests: Sequence[str], sets: dict[str, list[int]], name: str) -> None:
    """What was measured: per candidate, the drift of the base world and the spread of the differences."""
    for t, test in enumerate(tests):
        for i in sets[test]:
            rows.add(name, "actual", truth.loss[sample_label(i)][t], "nats", test=test, train=i)
        rows.add(name, "drift", truth.drift[t], "nats", test=test)
        rows.add(name, "spread", float(np.std([truth.loss[sample_label(i)][t] for i in sets[test]])), "nats", test=test)
    for i in sorted({i for chosen in sets.values() for i in chosen}):
        rows.add(name, "change_norm", truth.norm[sample_label(i)], train=i)
    rows.add(name, "drift_norm", truth.drift_norm)
    rows.add(name, "retrain_seconds", truth.seconds, "s")


def of_lines(rows: Rows, lines: torch.Tensor, chosen: Iterable[int]) -> None:
    """The line of the user's file that holds each of the samples `chosen`. lines: [n]."""
    for i in chosen:
        rows.add("data", "line", float(lines[i]), "line", train=i)


def of_correlations(
    rows: Rows, estimates: list[Estimate], truth: Truth, tests: Sequence[str], sets: dict[tuple[str, str], list[int]],
    source: str = "",
) -> None:  # fmt: skip
    """Estimate against truth within every set of candidates. sets: (test point, set) -> candidates."""
    for estimate in estimates:
        for (test, name), chosen in sets.items():
            t = tests.index(test)
            measured = [float(truth.loss[sample_label(i)][t]) for i in chosen]
            estimated = [float(estimate.influence[t, i]) for i in chosen]
            rows.scores(estimate.method, estimated, measured, test=test, set=name, truth=source)


def of_norms(
    rows: Rows, method: str, predicted: dict[int, float], truth: Truth, sets: dict[tuple[str, str], list[int]],
    source: str = "",
) -> None:  # fmt: skip
    """Predicted against measured norms of the parameters' change (Figs. 1a, 1b, 2c)."""
    if not source:
        for i, value in predicted.items():
            rows.add(method, "change_norm", value, train=i)
    for (test, name), chosen in sets.items():
        norms = [truth.norm[sample_label(i)] for i in chosen]
        rows.scores(method, [predicted[i] for i in chosen], norms, "norm_", test=test, set=name, truth=source)


def of_groups(rows: Rows, estimates: list[Estimate], truth: Truth, tests: Sequence[str], groups: Groups) -> None:
    """Sums of first-order influences against removing the group (section 9.11)."""
    for t, test in enumerate(tests):
        measured = {key: float(truth.loss[group_label(*key)][t]) for key in groups}
        for (size, number), value in measured.items():
            rows.add("retrain", "actual", value, "nats", test=test, size=size, group=number)
        for estimate in estimates:
            sums = group_influence(torch.from_numpy(estimate.influence), list(groups.values()))
            estimated = dict(zip(groups, sums[t].tolist(), strict=True))
            for (size, number), value in estimated.items():
                rows.add(estimate.method, "influence", value, "nats", test=test, size=size, group=number)
            for size in sorted({size for size, _ in groups}):
                keys = [key for key in groups if key[0] == size]
                rows.scores(
                    estimate.method, [estimated[k] for k in keys], [measured[k] for k in keys], test=test, set="groups",
                    size=size,
                )  # fmt: skip
