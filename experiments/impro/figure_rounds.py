"""Test accuracy over the rounds (Figs. 2a, 4 to 7, 8a, 10): thin as measured, thick smoothed, range over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.panels import PANELS, grid, legend, seeds_note
from experiments.core.report.parts import outer_labels
from experiments.core.report.style import look
from experiments.impro.figure_parts import style
from experiments.impro.reading import (
    BASIC,
    axes,
    by_place,
    curves,
    label_of,
    methods,
    named,
    ordered,
    panel_words,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 0.05
"""The share of a run's evaluated rounds that the smoothed line averages over."""

_CAPTION = (
    "Test accuracy in % over the rounds: thin lines the mean over seeds as measured, thick lines a centred moving mean "
    f"over {100 * _WIDTH:g} % of the evaluated rounds, bands the range over seeds of the smoothed accuracy. x: a "
    "seed's model left the finite numbers. The CSV holds every seed as measured."
)


def by_round(
    rows: pd.DataFrame, name: str, title: str, data: str = "", fl: str = "", metric: str = "accuracy"
) -> Artefact | None:
    """A panel a cell; the cells of data set `data` and federated setting `fl` only, where these are given."""
    measured = curves(rows, metric)
    if data:
        measured = measured[measured["data"] == data]
    if fl and "fl" in axes(rows):
        measured = measured[measured["fl"] == fl]
    if measured.empty or measured["round"].nunique() < 2:
        return None
    series = by_series(measured)
    left = len(panels_of(series)) - PANELS
    caption = f"{title} {_CAPTION}{f' {left} more panels are in the CSV.' if left > 0 else ''}"
    ends = rows[(rows["metric"] == "diverged") & rows["value"].notna()]
    return Artefact(name, tidy(measured, "round"), lambda: _draw(series, ends), caption)


def figure2a(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 2a: the basic federated setting, a panel for each data set."""
    return by_round(rows, name, "Figure 2a (the paper's is of CIFAR-10).", fl=BASIC)


def by_series(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows with `panel` and `series`: algorithms in each cell, or the last axis where each cell has one algorithm.

    `series` is the word of the algorithm or of the axis's value; `series key` says of which axis it is.
    """
    keys = [axis for axis in axes(measured) if axis not in ("task", "fl", "algorithm")]
    alone = measured.groupby("cell")["method"].nunique().max() == 1
    if alone and keys and measured[keys[-1]].nunique() > 1:
        key = keys[-1]
        panel = measured["cell"].map(lambda cell: " ".join(w for w in cell.split(" ") if not w.startswith(f"{key}=")))
        return measured.assign(panel=panel, series=measured[key], key=key)
    return measured.assign(panel=measured["cell"], series=measured["method"], key="algorithm")


def panels_of(series: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Panel -> its rows, in the order of the axes."""
    names = [axis for axis in axes(series) if axis not in ("algorithm", series["key"].iloc[0])]
    firsts = by_place(series.drop_duplicates("panel"), names)
    return {str(panel): series[series["panel"] == panel] for panel in firsts["panel"]}


def looks(series: pd.DataFrame) -> dict[str, tuple[str, dict[str, Any]]]:
    """Series -> its label and look; those of algorithms are the same in every figure."""
    if series["key"].iloc[0] == "algorithm":
        return {method: (label_of(method), style(method)) for method in methods(series)}
    key = str(series["key"].iloc[0])
    return {value: (named(key, value), look(i)) for i, value in enumerate(ordered(series["series"].unique()))}


def _draw(series: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    parts = dict(list(panels_of(series).items())[:PANELS])
    figure, panels, columns = grid(len(parts))
    known = looks(series)
    for ax, (panel, part) in zip(panels, parts.items(), strict=True):
        for value, (label, shape) in known.items():
            of_series = part[part["series"] == value]
            smoothed_line(ax, of_series, label, shape)
            _mark_ends(ax, of_series, ends, shape)
        ax.set_title(panel_words(part, panel))
        ax.locator_params(axis="x", integer=True)
    outer_labels(panels, columns, "round", "test accuracy [%]")
    legend(figure, panels, seeds_note(series["seed"].nunique(), "bands: range"))
    return figure


def smooth(values: pd.Series, share: float = _WIDTH) -> pd.Series:
    """The centred moving mean of `values`, in order, over an odd window of about `share` of them (at the ends less)."""
    window = max(1, 2 * int(share * len(values) / 2) + 1)
    return values.rolling(window, center=True, min_periods=1).mean()


def smoothed_line(ax: Axes, rows: pd.DataFrame, label: str, shape: dict[str, Any]) -> None:
    """One algorithm: the raw mean thin and light, the smoothed mean thick, the range of the smoothed seeds."""
    if rows.empty:
        return
    wide = rows.pivot_table(index="round", columns="seed", values="value").sort_index()
    smoothed = wide.apply(lambda seed: smooth(seed.dropna()).reindex(wide.index))
    mean = smoothed.mean(axis=1)
    ax.plot(wide.index, wide.mean(axis=1), color=shape["color"], linewidth=0.5, alpha=0.4)
    ax.plot(mean.index, mean, label=label, markevery=max(1, len(mean) // 6), **{**shape, "linewidth": 1.4})
    if len(wide.columns) > 1:
        low, high = smoothed.min(axis=1), smoothed.max(axis=1)
        ax.fill_between(mean.index, low, high, color=shape["color"], alpha=0.12, linewidth=0)


def _mark_ends(ax: Axes, rows: pd.DataFrame, ends: pd.DataFrame, shape: dict[str, Any]) -> None:
    """An x where a seed's model left the finite numbers."""
    gone = rows[rows.set_index(["point", "seed"]).index.isin(ends.set_index(["point", "seed"]).index)]
    for _, of_seed in gone.groupby(["point", "seed"]):
        last = of_seed.loc[of_seed["round"].idxmax()]
        ax.plot([last["round"]], [last["value"]], "x", color=shape["color"], markersize=6, markeredgewidth=1.5)


def sampled_weight(rows: pd.DataFrame, name: str) -> Artefact | None:
    """The weight of the sampled features' loss over the rounds; every cell in one panel."""
    weights = rows[(rows["metric"] == "sampled_weight") & rows["value"].notna()]
    if weights.empty or weights["round"].nunique() < 2:
        return None
    return Artefact(
        name, tidy(weights, "round"), None, "The weight w_r of the sampled features' loss in each evaluated round."
    )
