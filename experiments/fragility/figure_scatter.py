"""Estimated against measured influence sample by sample, of any setting (Fig. 11 for ImageNet); LiSSA's norms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import hide, outer_labels
from experiments.core.report.scatter import cloud
from experiments.core.report.style import look, new_figure
from experiments.core.subject import words as words_of
from experiments.fragility.figure_parts import legend
from experiments.fragility.reading import (
    SCORES,
    beside,
    ordered,
    pick,
    point_words,
    primary,
    test_words,
    tidy,
    top,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
"""Panels of one figure; what is beyond stands in the CSV only."""

MOST_ROWS = 10_000
"""Rows above which the CSV, too, has the panels of the figure only."""

Panel = tuple[str, str]
"""A point of the grid and a test point."""


def panels_of(rows: pd.DataFrame) -> list[Panel]:
    """The points and test points of `rows`: all points in their order, and of each its test points by loss."""
    points = sorted(rows["point"].unique(), key=lambda p: [ordered_place(*word, rows) for word in words_of(p).items()])
    return [(p, t) for p in points for t in ordered(rows[rows["point"] == p]["test"].unique())]


def ordered_place(key: str, value: str, rows: pd.DataFrame) -> int:
    """The place of `value` among the values of the axis `key`."""
    return ordered(rows[key].unique()).index(value)


def chosen(panels: list[Panel]) -> list[Panel]:
    """At most MOST panels: the first test point of every point before second ones."""
    turns = [sum(point == other for other, _ in panels[:i]) for i, (point, _) in enumerate(panels)]
    keep = sorted(range(len(panels)), key=lambda i: (turns[i], i))[:MOST]
    return [panels[i] for i in sorted(keep)]


def scatter(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Every measured sample of a setting, a panel per point of the grid and test point."""
    samples = primary(beside(rows))
    if samples.empty:
        return None
    samples = samples[samples["size"] == ""].drop(columns=["size", "group"])
    panels = panels_of(samples)
    shown = chosen(panels)
    where = "CSV" if len(samples) <= MOST_ROWS else "run's metrics.csv"
    if len(samples) > MOST_ROWS:
        samples = samples[[pair in shown for pair in zip(samples["point"], samples["test"], strict=True)]]
    more = f"{len(panels) - len(shown)} more panels are in the {where}" if len(panels) > len(shown) else ""
    caption = (
        "Change of the test loss when a training point is removed: estimated against retraining, every point tried. "
        f"In the titles the correlations over the top points (median over seeds). {more}"
    )
    words = _titles(rows, shown)
    return Artefact(name, samples.drop(columns="point"), lambda: _draw(samples, shown, words, more), caption)


def _titles(rows: pd.DataFrame, shown: list[Panel]) -> dict[Panel, str]:
    scores = primary(pick(rows, list(SCORES), truth="", size=""))
    titles = {}
    for point, test in shown:
        scored = top(scores[(scores["point"] == point) & (scores["test"] == test)])
        middle = scored.groupby("metric")["value"].median()
        values = ", ".join(f"{label} {middle[score]:.2f}" for score, label in SCORES.items() if score in middle)
        words = ", ".join(filter(None, [point_words(point), test_words(test)]))
        titles[point, test] = f"{words}\n{values or 'correlation undefined'}"
    return titles


def _draw(samples: pd.DataFrame, shown: list[Panel], words: dict[Panel, str], more: str) -> Figure:
    figure, axs = _grid(len(shown), 2.4, "by retraining (nats)", "estimated (nats)")
    colors = {float(seed): index for index, seed in enumerate(sorted(samples["seed"].unique()))}
    for ax, panel in zip(axs, shown, strict=False):
        points = samples[(samples["point"] == panel[0]) & (samples["test"] == panel[1])]
        cloud(ax, points.rename(columns={"actual": "exact", "predicted": "estimated"}), colors, 1.0)
        ax.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3))
        ax.set_title(words[panel], fontsize=7)
    figure.suptitle("change of the test loss when a training point is removed" + (f"; {more}" if more else ""))
    legend(figure, axs, 1, columns=6)
    return figure


def _grid(count: int, height: float, x: str, y: str) -> tuple[Figure, list[Axes]]:
    """Panels for `count`, with labels at the outer ones."""
    columns = min(count, 4 if count > 6 else 3)
    rows = math.ceil(count / columns)
    figure, axs = new_figure(rows, columns, height=height)
    figure.set_size_inches(2.7 * columns + 0.6, height * rows + 0.7)
    hide(axs, count)
    outer_labels(axs[:count], columns, x, y)
    return figure, axs


def lissa(rows: pd.DataFrame, name: str) -> Artefact | None:
    """The norm of LiSSA's estimate over its recursions: bounded, or its scale is too small."""
    norms = pick(rows, "norm_curve", method="lissa")
    if norms.empty:
        return None
    norms = norms[norms["seed"] == norms["seed"].min()]
    caption = "Norm of the stochastic estimate of the inverse-Hessian-vector product over recursions, first seed."
    return Artefact(name, tidy(norms, "test", "round"), lambda: _draw_lissa(norms), caption)


def _draw_lissa(norms: pd.DataFrame) -> Figure:
    positive = norms[norms["value"] > 0]
    points = list(dict.fromkeys(point for point, _ in panels_of(positive)))[:MOST]
    figure, axs = _grid(max(1, len(points)), 2.2, "recursion", "norm of the estimate")
    tests = ordered(positive["test"].unique())[:8]
    for ax, point in zip(axs, points, strict=False):
        for index, test in enumerate(tests):
            line = positive[(positive["point"] == point) & (positive["test"] == test)].sort_values("round")
            every = max(1, len(line) // 6)
            ax.plot(line["round"], line["value"], label=test_words(test), markevery=every, **look(index))
        ax.set_yscale("log")
        ax.set_title(point_words(point), fontsize=8)
    figure.suptitle(f"LiSSA, seed {positive['seed'].min():g}" if len(positive) else "LiSSA")
    legend(figure, axs, 1)
    return figure
