"""Best accuracies along an axis, an algorithm a mark, the paper's as stars: the pictures of the tables, Figure 8b."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.axis import name_positions
from experiments.core.report.panels import grid, legend, seeds_note
from experiments.core.report.parts import outer_labels
from experiments.impro.accuracies import axes_in
from experiments.impro.figure_parts import star, style
from experiments.impro.reading import DATA, MODELS, fl_words, label_of, methods, named, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    "fl": "federated setting", "split": "split after", "noise": "deviation of the noise",
    "per_round": "clients selected a round", "method": "", "variant": "variant", "schedule": "learning rate",
}  # fmt: skip
_WIDTH = 0.7
"""The room of a place that its marks share, 1 being the distance to the next place."""


def draw(frame: pd.DataFrame, along: str) -> Figure:
    """A panel for each data set, model and value of the axes that are not drawn along.

    Where the paper prints nothing for our data sets, its own numbers have panels beside ours.

    Args:
        frame: as the tables make it: best, sd, paper, method, data, net and the axes. along: the column of the axis.
    """
    frame = frame[frame["best"].notna() | frame["paper"].notna()]
    panels_of, run = _panels(frame, along), set(frame[frame["best"].notna()]["method"])
    figure, panels, columns = grid(len(panels_of), 2 if along == "fl" else 3, 2.3)
    for ax, (title, part) in zip(panels, panels_of.items(), strict=True):
        _panel(ax, part, along, run)
        ax.set_title(title)
    outer_labels(panels, columns, _LABELS.get(along, along), "best test accuracy [%]")
    legend(figure, panels, seeds_note(int(frame["seeds"].max()), "mean and standard deviation"))
    return figure


def _panels(frame: pd.DataFrame, along: str) -> dict[str, pd.DataFrame]:
    """Title -> its lines. The paper's that were not run stand with ours of the same data set, if there are any."""
    ours = frame["best"].notna()
    nets = frame[ours].groupby("data")["net"].agg(lambda net: "/".join(dict.fromkeys(MODELS.get(n, n) for n in net)))
    data = frame["data"].map(lambda key: DATA.get(key, key))
    titles = frame["data"].map(nets).str.cat(data, sep=", ").fillna(data + ", the paper's")
    for axis in axes_in(frame):
        if axis != along and frame[axis].fillna("").nunique() > 1:
            words = frame[axis].fillna("").map(lambda value, axis=axis: named(axis, value) if value else "")
            titles = titles.str.cat(words, sep="\n").str.rstrip("\n")
    alone = not (ours & frame["paper"].notna()).any()
    shown = [*titles[ours], *(titles if alone else [])]
    return {str(title): frame[titles == title] for title in dict.fromkeys(shown)}


def _panel(ax: Axes, part: pd.DataFrame, along: str, run: set[str]) -> None:
    """The marks of one panel; `run` are the algorithms of which some number is ours."""
    shown = methods(part)
    places = shown if along == "method" else ordered(part[along].fillna("").unique())
    for i, method in enumerate(shown):
        line = part[part["method"] == method].drop_duplicates(along)
        shift = 0.0 if along == "method" else _WIDTH * ((i + 0.5) / len(shown) - 0.5)
        at = np.array([places.index(value) for value in line[along].fillna("")]) + shift
        ours = line["best"].notna().to_numpy()
        if ours.any():
            shape = {**style(method), "linestyle": "", "markersize": 4.5, "elinewidth": 1, "capsize": 2}
            ax.errorbar(at[ours], line["best"][ours], line["sd"][ours].fillna(0), label=label_of(method), **shape)
        star(ax, at.tolist(), line["paper"].tolist(), method, "" if method in run else label_of(method))
    name_positions(ax, [_words(along, value) for value in places])
    ax.grid(axis="x", visible=False)


def _words(along: str, value: str) -> str:
    if along == "fl":
        return fl_words(value).replace(", ", "\n")
    return label_of(value) if along == "method" else value
