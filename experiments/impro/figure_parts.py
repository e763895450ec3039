"""What the figures share: the look of an algorithm, the legend under all panels, the size of a grid of panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.core.report import parts
from experiments.core.report.style import PALETTE, STAR, look, new_figure
from experiments.impro.reading import look_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STARRED = "the paper's number"
PANELS = 12
"""The most panels of a figure; what is beyond stands in its CSV."""


def style(method: str) -> dict[str, Any]:
    """Colour, dash and mark of an algorithm, the same in every figure."""
    return look(look_of(method))


def grid(count: int, columns: int = 4, height: float = 1.9, **shared: Any) -> tuple[Figure, list[Axes], int]:
    """A figure of `count` panels, its axes (those too many are taken away), and its number of columns."""
    columns = min(columns, count)
    lines = -(-count // columns)
    figure, panels = new_figure(lines, columns, **shared)
    width = 5.2 if columns == 1 else max(2.6 * columns, 5.6)
    figure.set_size_inches(width, (2.6 if lines == 1 else height * lines) + 0.9)
    parts.hide(panels, count)
    return figure, panels[:count], columns


def star(ax: Axes, x: Sequence[float], values: Sequence[float], method: str, name: str = "") -> None:
    """The paper's numbers in the colour of their algorithm; those that it does not print are left out.

    `name` is written beside them where the legend has no mark of that algorithm.
    """
    fill = "white" if name else PALETTE[look_of(method) % len(PALETTE)]
    size: dict[str, Any] = {"markersize": 8, "markeredgewidth": 0.6}
    if parts.stars(ax, x, values, clip_on=False, markerfacecolor=fill, **size):
        ax.plot([], [], label=STARRED, **{**STAR, **size, "markerfacecolor": "0.8"})
    for at, value in zip(x, values, strict=True):
        if name and not math.isnan(value):
            ax.annotate(name, (at, value), (5, -2), textcoords="offset points", fontsize=6)


def legend(figure: Figure, panels: Sequence[Axes], note: str = "", columns: int = 6) -> None:
    """All entries of `panels`, each once, under them, the paper's last, and a note."""
    entries = parts.entries(panels)
    entries = {label: entries[label] for label in sorted(entries, key=lambda label: label == STARRED)}
    longest = max(map(len, entries), default=0)
    fit = int(figure.get_figwidth() / (0.06 * longest + 0.5))  # inches of the longest entry
    parts.legend_below(figure, entries, max(1, min(columns, fit)), note)


def seeds_note(seeds: int, what: str) -> str:
    """What marks or bands are where there are several seeds."""
    return f"{what}, {seeds} seeds" if seeds > 1 else ""
