"""A mark a score along an axis, with intervals: scores against difficulty and against the truth of leaving out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report import panels
from experiments.core.report.axis import name_positions
from experiments.core.report.parts import outer_labels
from experiments.vog.figure_parts import style
from experiments.vog.reading import label_of, methods

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 0.7
"""The room of a place that its marks share, 1 being the distance to the next place."""


def draw(
    frame: pd.DataFrame,
    along: str,
    places: Sequence[str],
    words: Callable[[str], str],
    labels: tuple[str, str],
    columns: int = 2,
) -> Figure:
    """A panel for each value of the column `panel`.

    Args:
        frame: panel, method, value, low, high, seeds and the column `along`; `chance` and `ceiling` are drawn across.
        along: the column of the horizontal axis. places: its values in order. words: how they are written.
        labels: of the axes.
    """
    parts = dict(list(frame.groupby("panel", sort=False))[: panels.PANELS])
    figure, axes, columns = panels.grid(len(parts), columns, 2.5)
    for ax, (title, part) in zip(axes, parts.items(), strict=True):
        held = [place for place in places if place in set(part[along])]
        _panel(ax, part, along, held)
        name_positions(ax, [words(place) for place in held])
        ax.set_title(str(title))
    outer_labels(axes, columns, *labels)
    seeds = int(frame["seeds"].max())
    note = panels.seeds_note(seeds, "mean and range") or "one seed, 95 % interval"
    panels.legend(figure, axes, note)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, along: str, places: Sequence[str]) -> None:
    kinds = methods(part["method"])
    for i, method in enumerate(kinds):
        own = part[part["method"] == method]
        at = own[along].map(list(places).index) + _WIDTH * ((i + 0.5) / len(kinds) - 0.5)
        reach = np.array([own["value"] - own["low"], own["high"] - own["value"]]).clip(0)
        shape: dict[str, Any] = {**style(method), "linestyle": "", "markersize": 4.5, "elinewidth": 0.8, "capsize": 1.5}
        ax.errorbar(at, own["value"], np.nan_to_num(reach), label=label_of(method), **shape)
    for column, line in _ACROSS.items():
        if column not in part:
            continue
        for place, value in part.groupby(along, sort=False)[column].first().dropna().items():
            middle = list(places).index(str(place))
            ax.plot([middle - 0.45, middle + 0.45], [value, value], zorder=1, **line)
    ax.grid(axis="x", visible=False)


_ACROSS: dict[str, dict[str, Any]] = {
    "chance": {"color": "0.4", "linestyle": ":", "linewidth": 1.2, "label": "chance"},
    "ceiling": {"color": "black", "linestyle": "-", "linewidth": 1.4, "label": "another seed's truth"},
}
