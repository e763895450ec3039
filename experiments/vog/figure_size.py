"""Consistency by the number of training samples: overlap of the 25 highest and rank correlation, a line a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report import panels
from experiments.core.report.parts import outer_labels
from experiments.vog.consistency import pair_words, place_words
from experiments.vog.figure_parts import style
from experiments.vog.likeness import METRICS
from experiments.vog.reading import label_of, methods

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = ("overlap", "spearman")
_ROWS = 4


def draw(frame: pd.DataFrame) -> Figure:
    """A row of two panels for each pair of cells.

    Args:
        frame: as `tables_more.by_size` makes it.
    """
    parts = list(frame.groupby(["where", "between", "first", "second"], sort=False))[:_ROWS]
    figure, axes, columns = panels.grid(2 * len(parts), 2, 2.4)
    for i, ((where, between, first, second), part) in enumerate(parts):
        for j, metric in enumerate(_SHOWN):
            ax = axes[2 * i + j]
            _panel(ax, part[part["metric"] == metric])
            ax.set_ylabel(METRICS[metric])
        title = ", ".join(filter(None, [place_words(str(where)), pair_words(between, first, second)]))
        axes[2 * i].set_title(title, loc="left")
    outer_labels(axes, columns, "training samples", METRICS[_SHOWN[0]])
    for ax in axes[1::2]:
        ax.set_ylabel(METRICS[_SHOWN[1]])
    panels.legend(figure, axes, "mean and range over pairs")
    return figure


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    for method in methods(part["method"]):
        own = part[part["method"] == method].sort_values("samples")
        ax.plot(own["samples"], own["value"], label=label_of(method), **style(method))
        ax.fill_between(own["samples"], own["low"], own["high"], color=style(method)["color"], alpha=0.12, linewidth=0)
    chance = part.drop_duplicates("samples").sort_values("samples")
    ax.plot(chance["samples"], chance["chance"], color="0.4", linestyle=":", label="chance")
    ax.set_xscale("log")
    ax.set_xticks(sorted(part["samples"].unique()), [str(n) for n in sorted(part["samples"].unique())])
    ax.minorticks_off()
