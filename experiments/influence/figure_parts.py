"""What the figures share: a line over seeds with its band, and the legend under the panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def line(ax: Axes, rows: pd.DataFrame, x: str, y: str, label: str, middle: str = "mean", **style: Any) -> None:
    """The mean or median of `y` over seeds at each `x`, and a band from the least to the greatest seed."""
    by = rows.groupby(x)[y]
    values = by.agg(middle)
    if values.empty:
        return
    ax.plot(values.index, values, label=label, markevery=max(1, len(values) // 8), **style)
    if by.size().max() > 1:
        ax.fill_between(values.index, by.min(), by.max(), color=style["color"], alpha=0.12, linewidth=0)


def legend(figure: Figure, ax: Axes, seeds: int, middle: str = "mean") -> None:
    """The legend of `ax` under all panels, with a word on what line and band are when there are several seeds.

    Where `ax` is empty (its client never took part) the other panels tell what the lines are.
    """
    handles, labels = next(
        (found for panel in (ax, *figure.axes) if (found := panel.get_legend_handles_labels())[0]), ([], [])
    )
    note = band(seeds, middle)
    if note is not None:
        handles, labels = [*handles, note], [*labels, note.get_label()]
    if not handles:
        return
    columns = len(handles) if len(handles) <= 4 and max(map(len, labels)) < 32 else 3
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def band(seeds: int, middle: str = "mean") -> Any:
    """A legend entry that explains the band; None for one seed, which has none."""
    from matplotlib.patches import Patch

    label = f"{middle} and range, {seeds} seeds"
    return Patch(color="0.5", alpha=0.25, linewidth=0, label=label) if seeds > 1 else None
