"""The plot beside Table 1: what each way costs as the model, the clients, the iterations and the gradients grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.parts import entries, legend_below
from experiments.core.report.style import formula, look, new_figure
from experiments.core.report.tables import KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WAYS = {"naive 1": "naive 1", "naive 2": "naive 2", "ours": "Fed-Influence"}
_ROWS = {"server": "server, s", "client": "one client, s", "upload": "one upload, bytes"}
_AXES = {"p": "parameters p", "K": "clients K", "m": "local iterations m", "Ns": f"gradients {formula('N_s')}"}


def growth(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row a point: KEYS, method, cost (server, client, upload), axis, size, measured, unit, formula."""
    named = metrics["metric"].str.extract("^(?P<what>measured|formula)_(?P<cost>server|client|upload)$")
    sized = metrics["subject"].str.extract("^(?P<axis>p|K|m|Ns)=(?P<size>[0-9.]+)$")
    rows = pd.concat([metrics, named, sized.astype({"size": float})], axis=1).dropna(subset=["what", "axis"])
    on = [*KEYS, "method", "cost", "axis", "size"]
    measured = rows[rows["what"] == "measured"][[*on, "value", "unit"]].rename(columns={"value": "measured"})
    formula = rows[rows["what"] == "formula"][[*on, "value"]].rename(columns={"value": "formula"})
    return measured.merge(formula, on=on)


def draw(grid: pd.DataFrame) -> Figure:
    """Costs over sizes, both logarithmic; dotted: the growth of the paper's formula through the middle of ours."""
    figure, axes = new_figure(3, 4, height=1.7, sharex="col", sharey="row")
    figure.set_size_inches(7.2, 5.4)
    for i, cost in enumerate(_ROWS):
        for j, axis in enumerate(_AXES):
            ax = axes[4 * i + j]
            _panel(ax, grid[(grid["cost"] == cost) & (grid["axis"] == axis)])
            if j == 0:
                ax.set_ylabel(_ROWS[cost])
            if i == 2:
                ax.set_xlabel(_AXES[axis])
                ax.set_xticks(sorted(grid[grid["axis"] == axis]["size"].unique()))
                ax.set_xticklabels([f"{t:g}" for t in ax.get_xticks()])
                ax.minorticks_off()
    if (grid[(grid["method"] == "ours") & (grid["cost"] == "client")]["measured"] == 0).all():
        style: dict[str, Any] = {"transform": axes[4].transAxes, "ha": "right", "fontsize": 7}
        axes[4].text(0.97, 0.05, "Fed-Influence: 0", color=look(2)["color"], **style)
    handles = entries(axes[:1])
    legend_below(figure, handles, len(handles))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for index, (way, label) in enumerate(_WAYS.items()):
        along = rows[(rows["method"] == way) & (rows["measured"] > 0)].groupby("size")[["measured", "formula"]].mean()
        if along.empty:
            continue
        ax.plot(along.index, along["measured"], label=label, **look(index))
        through = (along["measured"] / along["formula"]).median()
        name = "growth of the formula" if index == len(_WAYS) - 1 else None
        dots: dict[str, Any] = {"color": "0.35", "linestyle": (0, (1, 2)), "linewidth": 1, "zorder": 1}
        ax.plot(along.index, along["formula"] * through, label=name, **dots)
