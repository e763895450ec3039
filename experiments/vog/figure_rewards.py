"""Rewards by client: exact beside private ones, under what leaving the client out of training does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.panels import legend, seeds_note
from experiments.core.report.style import PALETTE, new_figure
from experiments.vog.figure_parts import words_of_place
from experiments.vog.reading import METHODS, PAPERS, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
"""The most points of the grid that are drawn; the rest stand in the CSV."""
_TRUTH = "test loss without\nthe client, change [nats]"


def draw(frame: pd.DataFrame) -> Figure:
    """A column a point of the grid: the truth by client on top, then the rewards by each of the paper's scores.

    Args:
        frame: columns point, client, fault, metric, method, release, value, low, high, seeds.
    """
    points = list(dict.fromkeys(frame["point"]))[:_COLUMNS]
    told = shown(frame)
    figure, panels = new_figure(1 + len(told), len(points), sharey="row")
    figure.set_size_inches(max(5.6, 3.4 * len(points)), 1.7 * (1 + len(told)) + 1.0)
    for column, point in enumerate(points):
        here = frame[frame["point"] == point]
        truth = here[here["metric"] == "client_truth"]
        clients = list(truth.sort_values("value", ascending=False, kind="stable")["client"])
        own = panels[column :: len(points)]
        _bars(own[0], truth, clients, {"": PALETTE[0]})
        own[0].axhline(0, color="0.3", linewidth=0.8)
        own[0].set_title(words_of_place(point))
        for ax, method in zip(own[1:], told, strict=True):
            _bars(ax, here[(here["metric"] == "reward") & (here["method"] == method)], clients, _colours(frame))
        _name_clients(own, clients, dict(zip(here["client"], here["fault"], strict=True)))
    for row, name in enumerate([_TRUTH, *(f"reward by {METHODS[m]}\n(mean scaled score)" for m in told)]):
        panels[row * len(points)].set_ylabel(name)
    legend(figure, panels, seeds_note(int(frame["seeds"].max()), "bars: means; whiskers: least and greatest"))
    return figure


def shown(frame: pd.DataFrame) -> list[str]:
    """The scores that are drawn: the paper's, else the first others."""
    present = set(frame["method"])
    return [m for m in PAPERS if m in present] or [m for m in METHODS if m in present][:_COLUMNS]


def _colours(frame: pd.DataFrame) -> dict[str, str]:
    """Release -> colour; exact first, then by epsilon."""
    releases = ordered(set(frame["release"]) - {"", "exact"})
    return {"exact": "0.25", **{release: PALETTE[1 + i] for i, release in enumerate(releases)}}


def _bars(ax: Axes, rows: pd.DataFrame, clients: list[str], colours: dict[str, str]) -> None:
    """A group of bars for each client, one bar a release, with the range over seeds."""
    width = 0.8 / len(colours)
    for i, (release, colour) in enumerate(colours.items()):
        of = rows[rows["release"] == release].set_index("client").reindex(clients)
        at = [place + (i - (len(colours) - 1) / 2) * width for place in range(len(clients))]
        label = {"": None, "exact": "exact (not released)"}.get(release, f"released, eps {release}")
        ax.bar(at, of["value"], width, color=colour, label=label)
        ends: Any = [of["value"] - of["low"], of["high"] - of["value"]]
        if of["seeds"].max() > 1:
            ax.errorbar(at, of["value"], ends, fmt="none", ecolor="black", elinewidth=0.6, capsize=1)


def _name_clients(panels: list[Axes], clients: list[str], faults: dict[str, str]) -> None:
    """Write clients under the last panel, with what is wrong with them."""
    names = [f"{client}\n{faults[client]}" if faults.get(client) else str(client) for client in clients]
    for ax in panels:
        ax.set_xticks(range(len(clients)), [""] * len(clients))
    panels[-1].set_xticks(range(len(clients)), names)
    panels[-1].set_xlabel("client, most valuable first")
