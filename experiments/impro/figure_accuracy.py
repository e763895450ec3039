"""Best accuracies along an axis, an algorithm a mark, the paper's as stars: the pictures of the tables, Figure 8b."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.axis import name_positions
from experiments.core.report.parts import outer_labels
from experiments.impro.figure_parts import grid, legend, seeds_note, star, style
from experiments.impro.reading import DATA, MODELS, fl_words, label_of, methods, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    "fl": "federated setting", "split": "split after", "noise": "deviation of the noise",
    "per_round": "clients selected a round", "method": "", "variant": "variant",
}  # fmt: skip
_WIDTH = 0.7
"""The room of a place that its marks share, 1 being the distance to the next place."""


def draw(frame: pd.DataFrame, along: str) -> Figure:
    """A panel for each data set and model (and federated setting, where another axis is drawn along).

    Args:
        frame: as the tables make it: best, sd, paper, method, data, net and the axes. along: the column of the axis.
    """
    ours = set(frame[frame["best"].notna()]["method"])
    frame = frame[frame["best"].notna() | (frame["paper"].notna() & frame["method"].isin(ours))]
    panels_of = _panels(frame, along)
    figure, panels, columns = grid(len(panels_of), 2 if along == "fl" else 3, 2.3)
    for ax, (title, part) in zip(panels, panels_of.items(), strict=True):
        _panel(ax, part, along)
        ax.set_title(title)
    outer_labels(panels, columns, _LABELS.get(along, along), "best test accuracy [%]")
    seeds = int(frame["seeds"].max())
    legend(figure, panels, seeds_note(seeds, "mean and standard deviation"))
    return figure


def _panels(frame: pd.DataFrame, along: str) -> dict[str, pd.DataFrame]:
    """Title -> its lines. The paper's that were not run stand with ours of the same data set, if there are any."""
    data = frame["data"].map(lambda key: DATA.get(key, key))
    ours = frame[frame["best"].notna()]
    nets = ours.groupby("data")["net"].agg(lambda net: "/".join(dict.fromkeys(MODELS.get(n, n) for n in net)))
    titles = frame["data"].map(nets).fillna("").str.cat(data, sep=", ").str.removeprefix(", ")
    if along != "fl" and "fl" in frame and frame["fl"].fillna("").nunique() > 1:
        titles = titles.str.cat(frame["fl"].fillna("").map(fl_words), sep="\n").str.removesuffix("\n")
    with_ours = titles[frame["best"].notna()]
    return {str(title): frame[titles == title] for title in dict.fromkeys(with_ours)}


def _panel(ax: Axes, part: pd.DataFrame, along: str) -> None:
    places = methods(part) if along == "method" else ordered(part[along].fillna("").unique())
    shown = methods(part)
    for i, method in enumerate(shown):
        line = part[part["method"] == method].drop_duplicates(along)
        shift = 0.0 if along == "method" else _WIDTH * ((i + 0.5) / len(shown) - 0.5)
        at = np.array([places.index(value) for value in line[along].fillna("")]) + shift
        look = {**style(method), "linestyle": ""}
        run = line["best"].notna().to_numpy()
        ax.errorbar(
            at[run], line["best"][run], line["sd"][run].fillna(0), label=label_of(method) if run.any() else None,
            elinewidth=1, capsize=2, **{**look, "markersize": 4.5},
        )  # fmt: skip
        star(ax, at.tolist(), line["paper"].tolist(), method)
    name_positions(ax, [_words(along, value) for value in places])
    ax.grid(axis="x", visible=False)


def _words(along: str, value: str) -> str:
    if along == "fl":
        return fl_words(value).replace(", ", "\n")
    return label_of(value) if along == "method" else value
