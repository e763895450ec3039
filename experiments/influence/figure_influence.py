"""Figure 3: estimated against exact influence on loss, as a correlation over rounds and client by client at the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import entries, hide, legend_below, stars
from experiments.core.report.scatter import cloud, name_points
from experiments.core.report.style import formula, look, new_figure
from experiments.core.report.subjects import have_names
from experiments.influence.figure_parts import legend, line
from experiments.influence.reading import (
    COUNTED,
    VARIANTS,
    distinct,
    last,
    only,
    pick,
    printed,
    scatter,
    variants,
    worded,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = {"pearson_fil": "Pearson, FIL", "spearman_fil": "Spearman, FIL"}


def over_rounds(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 3a to 3c: correlation of estimated and exact FIL over the counted clients, round by round."""
    rows = pick(metrics, ["pearson_fil", "spearman_fil", "pearson_fia", "spearman_fia"], COUNTED)
    return Artefact(name, worded(rows), lambda: _draw_rounds(rows)) if len(rows) else None


def _draw_rounds(rows: pd.DataFrame) -> Figure:
    figure, axes = new_figure(1, 2, height=2.9, sharex=True, sharey=True)
    labels, seeds = distinct(rows, variants(rows)), rows["seed"].nunique()
    for ax, (metric, title) in zip(axes, _SHOWN.items(), strict=True):
        shown = rows[rows["metric"] == metric]
        for variant, label in labels.items():
            of_variant = shown[shown["method"] == variant]
            missing = seeds * shown["round"].nunique() - len(of_variant)
            gap = f" (undefined at {missing} of {len(of_variant) + missing})" if missing else ""
            line(ax, of_variant, "round", label + gap, **look(VARIANTS.index(variant)))
        ax.set_xlabel("round")
        ax.set_title(title)
    _paper(axes[0], only(rows, "setting"), float(rows["round"].max()))
    lowest = float(rows[rows["metric"].isin(_SHOWN)]["value"].min())
    axes[0].set_ylim(max(-1.03, min(lowest - 0.05, 0.8)), 1.03)
    axes[0].set_ylabel("correlation with exact FIL")
    legend(figure, axes[0], seeds)
    return figure


def _paper(ax: Axes, setting: str, end: float) -> None:
    value, rounds = printed(setting, "figure3.{}.pearson"), printed(setting, "table2.{}.rounds")
    stars(ax, [end], [value], f"paper, round {rounds:g}: {value:g}", clip_on=False)


def at_end(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 3d to 3f: estimated against exact FIL of each counted client in the last round."""
    points = scatter(metrics)
    scores = last(pick(metrics, list(_SHOWN), COUNTED))
    return Artefact(name, points, lambda: _draw_end(points, scores)) if len(points) else None


def _draw_end(points: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    long = points.assign(metric="fil", subject=points["client"], value=points["estimated"])
    labels = distinct(long, variants(points))
    columns = len(labels) if len(labels) <= 3 else 2
    rows = math.ceil(len(labels) / columns)
    figure, axes = new_figure(rows, columns)
    figure.set_size_inches(max(3.5, 7.2 if columns > 1 else 3.5), 2.9 * rows + 0.2)
    power = math.floor(math.log10(max(float(points["exact"].abs().max()), 1e-30)))
    unit, scale = ("nats", 1.0) if power in (-1, 0) else (formula(f"10^{{{power}}}") + " nats", 10.0**power)
    hide(axes, len(labels))
    seeds = points["seed"].nunique()
    colors = {seed: index for index, seed in enumerate(sorted(points["seed"].unique()))}
    for index, (ax, (variant, label)) in enumerate(zip(axes, labels.items(), strict=False)):
        of_variant = points[points["method"] == variant]
        cloud(ax, of_variant, colors, scale)
        if have_names(points["client"]):
            name_points(ax, of_variant[of_variant["seed"] == of_variant["seed"].min()], scale)
        words = _scores(scores[scores["method"] == variant], seeds)
        ax.set_title("\n".join([*label.replace(" = ", "\n= ").split("\n"), words]), fontsize=8)
        ax.set_xlabel(f"exact FIL ({unit})")
        if index % columns == 0:
            ax.set_ylabel(f"estimated FIL ({unit})")
    # A variant that stopped in one seed has no points of that seed: gather the legend over the panels.
    handles = entries(axes)
    names = sorted(handles, key=lambda name: (name == "equal", name))
    title = f"correlations: mean over {seeds} seeds" if seeds > 1 else ""
    legend_below(figure, {name: handles[name] for name in names}, 6, title)
    return figure


def _scores(scores: pd.DataFrame, seeds: int) -> str:
    """Like "Pearson 0.897, Spearman 0.825", and in how many seeds they are undefined."""
    by = scores.groupby("metric")["value"]
    mean, fewest = by.mean(), min([*by.size(), seeds])
    words = ", ".join(f"{title.partition(',')[0]} {mean[m]:.3f}" for m, title in _SHOWN.items() if m in mean)
    if not words:
        return "correlation undefined"
    return words + (f"\n(undefined in {seeds - fewest} of {seeds} seeds)" if fewest < seeds else "")
