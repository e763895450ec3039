"""Figures of several panels: their size by the number of panels, and one legend under all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.core.report import parts
from experiments.core.report.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STARRED = "the paper's number"
PANELS = 12
"""The most panels of a figure; what is beyond stands in its CSV."""


def grid(count: int, columns: int = 4, height: float = 1.9, **shared: Any) -> tuple[Figure, list[Axes], int]:
    """A figure of `count` panels, its axes (those too many are taken away), and its number of columns."""
    columns = min(columns, count)
    lines = -(-count // columns)
    figure, panels = new_figure(lines, columns, **shared)
    width = 5.2 if columns == 1 else max(2.6 * columns, 5.6)
    figure.set_size_inches(width, (2.6 if lines == 1 else height * lines) + 0.9)
    parts.hide(panels, count)
    return figure, panels[:count], columns


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
