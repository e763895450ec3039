"""What the figures share: lines and marks over seeds, the paper's stars, the axis in per cent, the legend below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

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


def line(ax: Axes, rows: pd.DataFrame, x: str, label: str, every: int = 10, **style: Any) -> None:
    """The mean of `value` over seeds at each `x`, and a band from the least to the greatest seed."""
    by = rows.groupby(x)["value"]
    mean = by.mean()
    if mean.empty:
        return
    ax.plot(mean.index, mean, label=label, markevery=max(1, len(mean) // every), **style)
    if by.size().max() > 1:
        ax.fill_between(mean.index, by.min(), by.max(), color=style["color"], alpha=0.15, linewidth=0)


def chance_line(ax: Axes, rows: pd.DataFrame, x: str, scope: str) -> None:
    """Chance as a thin line."""
    mean = rows.groupby(x)["value"].mean()
    if len(mean):
        ax.plot(mean.index, mean, zorder=1, **_CHANCE.get(scope, _CHANCE["correct"]))


def placed(ax: Axes, rows: pd.DataFrame, places: Sequence[str], over: str, label: str, index: int) -> None:
    """Every seed's value as a dot and the mean as a mark, at the place of its value of column `over`."""
    at = rows[over].map({place: i for i, place in enumerate(places)})
    values = rows["value"][at.notna()]
    style = look(index)
    if rows["seed"].nunique() > 1:
        dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "markeredgewidth": 0, "zorder": 3}
        ax.plot(at.dropna(), values, color=style["color"], alpha=0.35, **dots)
    mean = values.groupby(at.dropna()).mean()
    ax.plot(mean.index, mean, label=label, **{**style, "markersize": 4.5})


def places_of(ax: Axes, places: Sequence[str], label: str) -> None:
    """Name the places of a categorical axis."""
    ax.set_xticks(range(len(places)), list(places))
    ax.set_xlim(-0.5, len(places) - 0.5)
    ax.set_xlabel(label)


def star(ax: Axes, x: Sequence[float], values: Sequence[float], index: int, label: str = STARRED) -> None:
    """The paper's numbers in the colour of their series; those that it does not print are left out."""
    told = [(a, v) for a, v in zip(x, values, strict=True) if not math.isnan(v)]
    if told:
        style = {**STAR, "markersize": 9, "markeredgewidth": 0.6}
        ax.plot(*zip(*told, strict=True), clip_on=False, **{**style, "markerfacecolor": PALETTE[index % len(PALETTE)]})
        ax.plot([], [], label=label, **{**style, "markerfacecolor": "0.8"})  # of no series


def percent(ax: Axes, label: str = "%") -> None:
    """An axis from 0 to 100 %."""
    ax.set_ylim(0, 104)
    ax.set_yticks(range(0, 101, 20))
    ax.set_ylabel(label)


def legend(figure: Figure, panels: Sequence[Axes], note: str = "", columns: int = 4) -> None:
    """All entries of `panels`, each once, under them, and a note; as many columns as fit, at most `columns`."""
    entries = {name: handle for ax in panels for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        fit = int(figure.get_figwidth() / (0.06 * max(map(len, entries)) + 0.5))  # inches of the longest entry
        columns = max(1, min(columns, len(entries), fit))
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncols=columns,
            title=note or None, title_fontsize=7,
        )  # fmt: skip


def seeds_note(seeds: int, what: str) -> str:
    """What marks or bands are where there are several seeds."""
    return f"{what}, {seeds} seeds" if seeds > 1 else ""


def hide(panels: Sequence[Axes], used: int) -> None:
    """Take away the panels after the first `used`."""
    for ax in panels[used:]:
        ax.set_axis_off()
