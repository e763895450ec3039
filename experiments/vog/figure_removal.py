"""Accuracy after removal by epsilon, a score a mark, controls as lines across, the paper's numbers as stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report import panels
from experiments.core.report.axis import name_positions
from experiments.core.report.parts import outer_labels, stars
from experiments.core.report.style import STAR
from experiments.vog.figure_parts import CONTROL, style, title_of
from experiments.vog.reading import CONTROLS, label_of, methods, named, ordered, without

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 0.76
"""The room of a place that its marks share, 1 being the distance to the next place."""

_ENDS: dict[str, dict[str, Any]] = {
    "highest": {"markersize": 4.5},
    "lowest": {"markersize": 4.0, "markerfacecolor": "white"},
}


def draw(frame: pd.DataFrame) -> Figure:
    """A panel for each point without its epsilon.

    Args:
        frame: as `removed.table` makes it.
    """
    frame = frame.assign(place=[without(point, "eps") for point in frame["point"]])
    parts = dict(list(frame.groupby("place", sort=False))[: panels.PANELS])
    figure, axes, columns = panels.grid(len(parts), 2, 2.9)
    for ax, (place, part) in zip(axes, parts.items(), strict=True):
        _panel(ax, part)
        ax.set_title(title_of(part, str(place)))
    outer_labels(axes, columns, "privacy of training", "test accuracy after removal [%]")
    seeds = int(frame["seeds"].max())
    note = "filled: without the highest scores, open: without the lowest"
    panels.legend(figure, axes, "; ".join(filter(None, [note, panels.seeds_note(seeds, "mean and range")])))
    return figure


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    places = ordered(part["eps"].unique()) if "eps" in part else [""]
    at = part["eps"].map(places.index) if "eps" in part else pd.Series(0, index=part.index)
    part = part.assign(at=at)
    scores = [method for method in methods(part["method"]) if method not in CONTROLS]
    for i, method in enumerate(scores):
        own = part[part["method"] == method]
        _marks(ax, own.assign(at=own["at"] + _WIDTH * ((i + 0.5) / len(scores) - 0.5)), method)
    for name, line in CONTROL.items():
        for _, told in part[part["method"] == name].iterrows():
            reach = np.array([told["at"] - _WIDTH / 2, told["at"] + _WIDTH / 2])
            ax.plot(reach, [told["accuracy"]] * 2, label=label_of(name), zorder=1, **line)
            ax.fill_between(reach, told["low"], told["high"], color=line["color"], alpha=0.12, linewidth=0)
    name_positions(ax, [named("eps", value) if value else "as trained" for value in places])
    ax.grid(axis="x", visible=False)


def _marks(ax: Axes, own: pd.DataFrame, method: str) -> None:
    """The marks of one score, and the paper's numbers for it."""
    for end, shape in _ENDS.items():
        chosen = own[own["pick"] == end]
        if chosen.empty:
            continue
        reach = np.array([chosen["accuracy"] - chosen["low"], chosen["high"] - chosen["accuracy"]])
        label = label_of(method) if end == "highest" else None
        drawn: dict[str, Any] = {**style(method), **shape, "linestyle": "", "elinewidth": 0.8, "capsize": 1.5}
        ax.errorbar(chosen["at"], chosen["accuracy"], reach, label=label, **drawn)
    papers = own[own["pick"] == "highest"]
    fill: dict[str, Any] = {"markersize": 7, "markerfacecolor": style(method)["color"]}
    if stars(ax, papers["at"].tolist(), papers["paper"].tolist(), **fill):
        ax.plot([], [], label=panels.STARRED, **{**STAR, "markersize": 7, "markerfacecolor": "0.8"})
