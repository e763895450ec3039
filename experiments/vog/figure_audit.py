"""Stated epsilon against the lower bound that an attack proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.parts import legend_below
from experiments.core.report.style import look, new_figure
from experiments.vog.figure_parts import words_of_place
from experiments.vog.reading import without

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(frame: pd.DataFrame) -> Figure:
    """A mark a point, a series for each rest of the point; above the line the guarantee would be false.

    Args:
        frame: as `against.audit` makes it.
    """
    figure, (ax,) = new_figure(height=3.0)
    figure.set_size_inches(4.4, 3.4)
    most = 1.15 * float(max(frame["stated_epsilon"].max(), frame["audit_epsilon"].max(), 0.1))
    ax.plot([0, most], [0, most], color="black", linewidth=1.2, label="stated = proven")
    places = frame["point"].map(lambda point: without(point, "eps"))
    for i, place in enumerate(places.unique()):
        own = frame[places == place].sort_values("stated_epsilon")
        reach = np.array([own["audit_epsilon"] - own["low"], own["high"] - own["audit_epsilon"]]).clip(0)
        shape = {**look(i), "linestyle": "", "markersize": 5}
        label = words_of_place(str(place)) or "lower bound, mean and range over seeds"
        ax.errorbar(own["stated_epsilon"], own["audit_epsilon"], reach, label=label, capsize=2, **shape)
    if "audit_most" in frame:
        ax.plot(
            frame["stated_epsilon"], frame["audit_most"], linestyle="", marker="_", markersize=12, color="0.4",
            label="most that so many runs can prove",
        )  # fmt: skip
    ax.set_xlim(0, most)
    ax.set_ylim(-0.03 * most, None)
    ax.set_xlabel("stated epsilon")
    ax.set_ylabel("proven lower bound on epsilon")
    handles, labels = ax.get_legend_handles_labels()
    legend_below(figure, dict(zip(labels, handles, strict=True)), 2)
    return figure
