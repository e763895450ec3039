"""What figures are made of: lines over seeds, the paper's stars, one legend under all panels, panels left empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.core.report.style import STAR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def line(
    ax: Axes, rows: pd.DataFrame, x: str, label: str, y: str = "value", middle: str = "mean", marks: int = 10,
    shade: float = 0.15, **style: Any,
) -> None:  # fmt: skip
    """The `middle` ("mean", "median") of `y` over seeds at each `x`, and a band from the least to the greatest seed.

    Args:
        ax: where; nothing is drawn without rows. rows: a number a seed and `x`. x, y: their columns. label: the line's.
        marks: about how many points of the line are marked. shade: the band's opacity. style: the line's; with color.
    """
    by = rows.groupby(x)[y]
    values = by.agg(middle)
    if values.empty:
        return
    ax.plot(values.index, values, label=label, markevery=max(1, len(values) // marks), **style)
    if by.size().max() > 1:
        ax.fill_between(values.index, by.min(), by.max(), color=style["color"], alpha=shade, linewidth=0)


def stars(ax: Axes, x: Sequence[float], values: Sequence[float], label: str | None = None, **style: Any) -> bool:
    """The numbers that a paper prints, NaN where it has none; returns whether there are any to draw."""
    printed = [(at, value) for at, value in zip(x, values, strict=True) if not math.isnan(value)]
    if printed:
        ax.plot(*zip(*printed, strict=True), label=label, **{**STAR, **style})
    return bool(printed)


def entries(panels: Sequence[Axes]) -> dict[str, Any]:
    """Label -> handle of all that `panels` show, each label once."""
    return {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}


def legend_below(figure: Figure, handles: Mapping[str, Any], columns: int, title: str = "") -> None:
    """One legend of `handles` (label -> handle, see `entries`) under all panels; none without any."""
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=min(columns, len(handles)),
            title=title or None, title_fontsize=7,
        )  # fmt: skip


def outer_labels(panels: Sequence[Axes], columns: int, x: str, y: str) -> None:
    """Label the lowest panel of each column and the first of each row of `panels`, the used ones in reading order."""
    for index, ax in enumerate(panels):
        if index + columns >= len(panels):
            ax.set_xlabel(x)
        if index % columns == 0:
            ax.set_ylabel(y)


def hide(panels: Sequence[Axes], used: int) -> None:
    """Take away the panels after the first `used`."""
    for ax in panels[used:]:
        ax.set_axis_off()
