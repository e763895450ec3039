"""What the figures share: values of several seeds over named places, the paper's stars, the legend under the panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report.style import STAR, look
from experiments.fragility.reading import ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, pd.DataFrame]
"""Label -> its rows: one number a row, with columns seed, value and that of the horizontal axis."""

_STEP = 0.14  # of the distance between two places: how far series stand apart


def swarms(
    ax: Axes, series: Series, over: str, places: Sequence[str] = (), joined: bool = True, first: int = 0
) -> list[str]:
    """Every value as a dot and the median of each place as a mark, series beside each other; returns the places.

    Places, the values of column `over`, stand at equal distances, so that 0 has one on what would be a logarithmic
    axis. Medians are joined by a line where the places have an order. `first`: the look of the first series.
    """
    found = list(places) or ordered({v for rows in series.values() for v in rows[over]})
    for index, (label, rows) in enumerate(series.items()):
        shift = (index - (len(series) - 1) / 2) * min(_STEP, 0.36 / len(series))
        at = rows[over].map({place: i + shift for i, place in enumerate(found)}).dropna()
        values = rows.loc[at.index, "value"]
        style: dict[str, Any] = look(first + index)
        dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "markeredgewidth": 0, "zorder": 3}
        ax.plot(at, values, color=style["color"], alpha=0.35, **dots)
        middle = values.groupby(at).median()
        if not joined:
            style["linestyle"] = ""
        ax.plot(middle.index, middle, label=label, **style | {"markersize": 4.5})
    ax.set_xlim(-0.5, len(found) - 0.5)
    ax.set_xticks(range(len(found)), found)
    return found


def stars(ax: Axes, places: Sequence[str], printed: dict[str, float], label: str = "the paper") -> None:
    """The paper's numbers, by place; places that are not shown and numbers that it does not print are left out."""
    told = {places.index(place): v for place, v in printed.items() if place in places and not math.isnan(v)}
    if told:
        ax.plot(list(told), list(told.values()), label=label, **STAR)


def correlation_axis(ax: Axes, label: str = "correlation with retraining") -> None:
    """Up to 1, and down to what is there; a line at 0."""
    shown = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    lows = [float(values.min()) for values in shown if len(values) and np.isfinite(values).all()]
    ax.set_ylim(max(-1.05, min([0.0, *lows]) - 0.08), 1.05)
    ax.axhline(0, color="0.4", linewidth=0.8, zorder=0)
    ax.set_ylabel(label)


def count_undefined(ax: Axes, places: Sequence[str], counts: pd.DataFrame, what: str) -> None:
    """Under every place, how many of its networks have no correlation (`reading.undefined`); `what` names the axis.

    `lost_words` says what the marks mean.
    """
    ax.set_xlabel(what)
    lost = counts.reindex(places).fillna(0).astype(int)
    marks = [f"{r.undefined}/{r.trained}" if r.undefined else "" for r in lost.itertuples()]
    if any(marks):
        ax.set_xticks(range(len(places)), [f"{place}\n{mark}" for place, mark in zip(places, marks, strict=True)])


def lost_words(counts: pd.DataFrame) -> str:
    """What the marks of `count_undefined` mean; "" where there are none."""
    lost, constant = int(counts["undefined"].sum()), int(counts["constant"].sum())
    why = "their output is constant" if constant == lost else f"the output of {constant} of {lost} is constant"
    return f"a/b under an axis: a of b networks have no correlation ({why})" if lost else ""


def legend(figure: Figure, panels: Sequence[Axes], seeds: int, columns: int = 4, note: str = "") -> None:
    """All entries of `panels`, each once, under them, `note`, and what dots and marks are for several seeds."""
    entries = {name: handle for ax in panels for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    if not entries:
        return
    told = [f"dots: {seeds} seeds, marks: their median"] if seeds > 1 else []
    title = "\n".join([*told, *([note] if note else [])]) or None
    width = columns if max(map(len, entries)) < 28 else 2
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=min(width, len(entries)), title=title,
        title_fontsize=7,
    )  # fmt: skip


def relabel(ax: Axes, places: Sequence[str], words: Callable[[str], str], turn: float = 0) -> None:
    """Name the places in words."""
    more: dict[str, Any] = {"rotation": turn, "ha": "right", "rotation_mode": "anchor"} if turn else {}
    ax.set_xticks(range(len(places)), [words(place) for place in places], **more)


def hide(panels: Sequence[Axes], used: int) -> None:
    """Take away the panels after the first `used`."""
    for ax in panels[used:]:
        ax.set_axis_off()
