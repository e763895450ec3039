"""Figures along an axis of a grid: the values of an axis at equal distances, the seeds' numbers at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_DOTS: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 3, "markeredgewidth": 0, "zorder": 3, "alpha": 0.35,
}  # fmt: skip


def positions(column: pd.Series, values: Sequence[str], shift: float = 0.0) -> pd.Series:
    """Where each row stands: the place of its value among `values`, plus `shift`; NaN for any other value.

    Equal distances give 0 a place on what would be a logarithmic axis.
    """
    return column.map({value: place + shift for place, value in enumerate(values)})


def swarm(
    ax: Axes, rows: pd.DataFrame, at: pd.Series, label: str, style: dict[str, Any], middle: str, dots: bool = True
) -> None:
    """Every number as a dot, and at each position the `middle` ("mean", "median") as a mark, joined by a line.

    Args:
        ax: where. rows: with column value. at: the position of each row (see `positions`); NaN: the row is left out.
        label: of the marks. style: their look (`style.look`); linestyle "" does not join them. dots: draw the dots.
    """
    values = rows["value"][at.notna()]
    at = at.dropna()
    if dots:
        ax.plot(at, values, color=style["color"], **_DOTS)
    centre = values.groupby(at).agg(middle)
    ax.plot(centre.index, centre, label=label, **{**style, "markersize": 4.5})


def name_positions(ax: Axes, values: Sequence[str]) -> None:
    """Write `values` under their positions, and show all of them."""
    ax.set_xticks(range(len(values)), list(values))
    ax.set_xlim(-0.5, len(values) - 0.5)
