"""What the figures share: looks and labels of series, chance, the paper's stars, an axis in per cent, the legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report import axis, parts
from experiments.core.report.style import PALETTE, STAR, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = {"accuracy": 0, "correct": 1, "wrong": 3, "feddebug": 2}
"""What is drawn in most figures -> its look: the model's accuracy, TraceFL by scope, FedDebug."""

LABELS = {
    "accuracy": "accuracy of the global model", "correct": "TraceFL, correct predictions",
    "wrong": "TraceFL, mispredictions", "feddebug": "FedDebug",
}  # fmt: skip
STARRED = "the paper's number"
_CHANCE: dict[str, dict[str, Any]] = {
    "correct": {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "label": "chance, correct predictions"},
    "wrong": {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (5, 2)), "label": "chance, mispredictions"},
}


def chance_line(ax: Axes, rows: pd.DataFrame, x: str, scope: str) -> None:
    """Chance as a thin line."""
    mean = rows.groupby(x)["value"].mean()
    if len(mean):
        ax.plot(mean.index, mean, zorder=1, **_CHANCE.get(scope, _CHANCE["correct"]))


def placed(ax: Axes, rows: pd.DataFrame, along: Sequence[str], over: str, label: str, index: int) -> None:
    """Every seed's value as a dot and the mean as a mark, at the place of its value of column `over` in `along`."""
    several = rows["seed"].nunique() > 1
    axis.swarm(ax, rows, axis.positions(rows[over], along), label, look(index), "mean", dots=several)


def places_of(ax: Axes, along: Sequence[str], label: str) -> None:
    """Name the values of the axis, and the axis."""
    axis.name_positions(ax, along)
    ax.set_xlabel(label)


def star(ax: Axes, x: Sequence[float], values: Sequence[float], index: int, label: str = STARRED) -> None:
    """The paper's numbers in the colour of their series; those that it does not print are left out."""
    style: dict[str, Any] = {"markersize": 9, "markeredgewidth": 0.6}
    if parts.stars(ax, x, values, clip_on=False, markerfacecolor=PALETTE[index % len(PALETTE)], **style):
        ax.plot([], [], label=label, **{**STAR, **style, "markerfacecolor": "0.8"})  # of no series


def percent(ax: Axes, label: str = "%") -> None:
    """An axis from 0 to 100 %."""
    ax.set_ylim(0, 104)
    ax.set_yticks(range(0, 101, 20))
    ax.set_ylabel(label)


def legend(figure: Figure, panels: Sequence[Axes], note: str = "", columns: int = 4) -> None:
    """All entries of `panels`, each once, under them, and a note; as many columns as fit, at most `columns`."""
    entries = parts.entries(panels)
    longest = max(map(len, entries), default=0)
    fit = int(figure.get_figwidth() / (0.06 * longest + 0.5))  # inches of the longest entry
    parts.legend_below(figure, entries, max(1, min(columns, fit)), note)


def seeds_note(seeds: int, what: str) -> str:
    """What marks or bands are where there are several seeds."""
    return f"{what}, {seeds} seeds" if seeds > 1 else ""
