"""What the figures share: numbers of seeds along an axis, the axis of correlations, networks without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report import axis, parts
from experiments.core.report.style import look
from experiments.fragility.reading import ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, pd.DataFrame]
"""Label -> its rows: one number a row, with columns seed, value and that of the horizontal axis."""

_STEP = 0.14  # of the distance between two values: how far series stand apart


def swarms(
    ax: Axes, series: Series, over: str, values: Sequence[str] = (), joined: bool = True, first: int = 0
) -> list[str]:
    """Every number as a dot and the median as a mark at each value of column `over`, series beside each other.

    Medians are joined by a line where the values have an order. `first`: the look of the first series. Returns the
    values along the axis: `values`, or all of the series.
    """
    along = list(values) or ordered({value for rows in series.values() for value in rows[over]})
    for index, (label, rows) in enumerate(series.items()):
        shift = (index - (len(series) - 1) / 2) * min(_STEP, 0.36 / len(series))
        style = look(first + index) | ({} if joined else {"linestyle": ""})
        axis.swarm(ax, rows, axis.positions(rows[over], along, shift), label, style, "median")
    axis.name_positions(ax, along)
    return along


def stars(ax: Axes, along: Sequence[str], printed: dict[str, float], label: str = "the paper") -> None:
    """The paper's numbers, by value of the axis; those of values that are not shown are left out."""
    shown = {along.index(value): number for value, number in printed.items() if value in along}
    parts.stars(ax, list(shown), list(shown.values()), label)


def correlation_axis(ax: Axes, label: str = "correlation with retraining") -> None:
    """Up to 1, and down to the lowest number drawn; a line at 0."""
    shown = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    lows = [float(values.min()) for values in shown if len(values) and np.isfinite(values).all()]
    ax.set_ylim(max(-1.05, min([0.0, *lows]) - 0.08), 1.05)
    ax.axhline(0, color="0.4", linewidth=0.8, zorder=0)
    ax.set_ylabel(label)


def count_undefined(ax: Axes, along: Sequence[str], counts: pd.DataFrame, what: str) -> None:
    """Under every value, how many of its networks have no correlation (`reading.undefined`); `what` names the axis.

    `lost_words` says what the marks mean.
    """
    ax.set_xlabel(what)
    lost = counts.reindex(along).fillna(0).astype(int)
    marks = [f"{row.undefined}/{row.trained}" if row.undefined else "" for row in lost.itertuples()]
    if any(marks):
        ax.set_xticks(range(len(along)), [f"{value}\n{mark}" for value, mark in zip(along, marks, strict=True)])


def lost_words(counts: pd.DataFrame) -> str:
    """What the marks of `count_undefined` mean; "" where there are none."""
    lost, constant = int(counts["undefined"].sum()), int(counts["constant"].sum())
    why = "their output is constant" if constant == lost else f"the output of {constant} of {lost} is constant"
    return f"a/b under an axis: a of b networks have no correlation ({why})" if lost else ""


def legend(figure: Figure, panels: Sequence[Axes], seeds: int, columns: int = 4, note: str = "") -> None:
    """All entries of `panels`, each once, under them, `note`, and what dots and marks are for several seeds."""
    entries = parts.entries(panels)
    seeds_words = f"dots: {seeds} seeds, marks: their median" if seeds > 1 else ""
    width = columns if max(map(len, entries), default=0) < 28 else 2
    parts.legend_below(figure, entries, width, "\n".join(filter(None, [seeds_words, note])))


def relabel(ax: Axes, along: Sequence[str], words: Callable[[str], str], turn: float = 0) -> None:
    """Name the values of the axis in words."""
    more: dict[str, Any] = {"rotation": turn, "ha": "right", "rotation_mode": "anchor"} if turn else {}
    ax.set_xticks(range(len(along)), [words(value) for value in along], **more)
