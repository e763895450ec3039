"""How the correlation moves along one axis: depth (Figs. 1c, 2, 6), width (1d, 20), decay (3c, 8), group size (18)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import PALETTE, formula, new_figure
from experiments.fragility.figure_parts import (
    Series,
    correlation_axis,
    count_undefined,
    legend,
    lost_words,
    stars,
    swarms,
)
from experiments.fragility.reading import (
    METHODS,
    SCORES,
    axes,
    correlations,
    estimators,
    family,
    pick,
    point_words,
    prefer,
    primary,
    printed,
    tidy,
    top,
    undefined,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS = {
    "depth": "layers",
    "width": "width of the layers",
    "wd": "weight decay " + formula(r"\lambda"),
    "size": "samples of a group",
}
_BLACK = PALETTE.index("#000000")
_SHARE = "on the highest-loss test point and its top influential training points"


def scores(rows: pd.DataFrame) -> Series:
    """Pearson and Spearman of `rows` apart."""
    return {label: of_score for score, label in SCORES.items() if len(of_score := rows[rows["metric"] == score])}


def scores_by_point(rows: pd.DataFrame) -> Series:
    """The same apart for every point of the grid."""
    return {
        ", ".join(filter(None, [label, point_words(str(point))])): of_score
        for point, at in rows.groupby("point", sort=False)
        for label, of_score in scores(at).items()
    }


def _network(rows: pd.DataFrame, activation: str) -> pd.DataFrame:
    """The networks of `activation`; where that is no axis of the setting, all of them count as tanh."""
    return rows[rows["activation"].isin([activation, ""] if activation == "tanh" else [activation])]


def depth(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 1c: correlation over depth, tanh."""
    return _curve(_network(rows, "tanh"), name, "depth", {}, "Correlation over depth (tanh), " + _SHARE)


def width(rows: pd.DataFrame, name: str, activation: str = "tanh") -> Artefact | None:
    """Figures 1d and 20: correlation over width. The paper does not say of which activation its two numbers are."""
    paper = {w: printed(f"iris.width{w}.spearman") for w in ("8", "50")} if activation == "tanh" else {}
    return _curve(_network(rows, activation), name, "width", paper, f"Correlation over width ({activation}), " + _SHARE)


def deep_decay(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 8: correlation and curvature over weight decay, deeper networks."""
    paper = {wd: printed(f"iris.figure8.wd{wd}.spearman") for wd in ("0.03", "0.075")}
    caption = "Correlation and curvature over weight decay, tanh, " + _SHARE
    return _curve(_network(rows, "tanh"), name, "wd", paper, caption, curvature=True)


def decay(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 3c: correlation over weight decay, small CNN."""
    return _curve(rows, name, "wd", {}, "Correlation over weight decay, " + _SHARE)


def _curve(
    rows: pd.DataFrame, name: str, axis: str, paper: dict[str, float], caption: str, curvature: bool = False
) -> Artefact | None:
    scored = correlations(rows)
    if scored.empty or axis not in axes(scored):
        return None
    eigen = pick(rows, "top_eigenvalue", method="train") if curvature else rows.iloc[:0]
    frame = pd.concat([tidy(part, "test", "set", "n") for part in (scored, eigen) if len(part)], ignore_index=True)
    lost = undefined(rows, scored, axis)
    words = f"{caption}: every seed and the median. {_told(lost)}"
    return Artefact(name, frame, lambda: _draw(scored, eigen, axis, lost, paper), words)


def _told(lost: pd.DataFrame) -> str:
    """How many networks have no correlation, in words."""
    count, constant, trained = (int(lost[c].sum()) for c in ("undefined", "constant", "trained"))
    return f"No correlation in {count} of {trained} networks ({constant} of constant output)." if count else ""


def _draw(scored: pd.DataFrame, eigen: pd.DataFrame, axis: str, lost: pd.DataFrame, paper: dict[str, float]) -> Figure:
    figure, panels = new_figure(1, 2 if len(eigen) else 1, height=3.1)
    figure.set_size_inches(7.2 if len(eigen) else 4.6, 3.2)
    places = swarms(panels[0], scores(scored), axis)
    stars(panels[0], places, paper, "the paper, Spearman")
    if axis == "wd" and family(str(scored["setting"].iloc[0])) == "small_mnist_decay":
        _turning(panels[0], places)
    correlation_axis(panels[0])
    count_undefined(panels[0], places, lost, _WORDS[axis])
    if len(eigen):
        _eigenvalues(panels[1], eigen, axis)
    legend(figure, panels, scored["seed"].nunique(), note=lost_words(lost))
    return figure


def _turning(ax: Axes, places: list[str]) -> None:
    """Where the paper says that correlations start to fall (section 5.2)."""
    at = printed("small_mnist.wd_degrades_above")
    below = sum(float(value) <= at for value in places)
    if not math.isnan(at) and 0 < below < len(places):
        ax.axvline(below - 0.5, color="0.4", linestyle="--", linewidth=0.8, label=f"the paper: falls above {at:g}")


def _eigenvalues(ax: Axes, rows: pd.DataFrame, axis: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    swarms(ax, {"_top eigenvalue": rows[rows["value"] > 0]}, axis, first=_BLACK)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(_WORDS[axis])
    ax.set_ylabel("top eigenvalue of the Hessian")


def stack(rows: pd.DataFrame, name: str, activation: str) -> Artefact | None:
    """Figures 2 (tanh) and 6 (ReLU) over depth: correlation by method, top eigenvalue, correlation of the norms."""
    rows = _network(rows, activation)
    by = pick(rows, "spearman", method=list(METHODS), truth="", size="")
    by = top(prefer(by, "test", "max"))
    norms = top(primary(pick(rows, "norm_spearman", truth="")))
    eigen = pick(rows, "top_eigenvalue", method="train")
    if "depth" not in axes(by):
        return None
    parts = {"a": by, "b": eigen, "c": norms}
    frame = pd.concat([tidy(p, "test", "set").assign(panel=k) for k, p in parts.items() if len(p)], ignore_index=True)
    lost = undefined(rows, by, "depth")
    caption = (
        f"Networks of {activation} over depth, every seed and the median: (a) Spearman correlation of estimated and "
        "measured influence by the way to solve with the Hessian; (b) its top eigenvalue; (c) Spearman correlation of "
        f"the estimated and measured norms of parameter change over the same training points. {_told(lost)}"
    )
    return Artefact(name, frame, lambda: _draw_stack(parts, lost), caption)


def _draw_stack(parts: dict[str, pd.DataFrame], lost: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 3, height=2.9)
    figure.set_size_inches(10.2, 3.2)
    by = parts["a"]
    places = swarms(panels[0], {METHODS[m]: by[by["method"] == m] for m in estimators(by)}, "depth")
    correlation_axis(panels[0], "Spearman correlation of influence")
    count_undefined(panels[0], places, lost, _WORDS["depth"])
    _eigenvalues(panels[1], parts["b"], "depth")
    swarms(panels[2], {"_norm of parameter change": parts["c"]}, "depth", first=_BLACK)
    correlation_axis(panels[2], "Spearman correlation of norms")
    panels[2].set_xlabel(_WORDS["depth"])
    for ax, letter in zip(panels, parts, strict=True):
        ax.set_title(f"({letter})", loc="left")
    legend(figure, panels, by["seed"].nunique(), note=lost_words(lost))
    return figure


def groups(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 18: correlation of the influence of groups over their size."""
    scored = pick(rows, list(SCORES), method=list(METHODS), set="groups")
    scored = prefer(primary(scored[scored["size"] != ""]), "test", "max")
    if scored.empty:
        return None
    caption = "Correlation over groups of one size of the estimated and measured influence of removing a group."
    return Artefact(name, tidy(scored, "test", "size", "n"), lambda: _draw_groups(scored), caption)


def _draw_groups(scored: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 1, height=3.2)
    figure.set_size_inches(4.6, 3.4)
    swarms(panels[0], scores_by_point(scored), "size")
    correlation_axis(panels[0])
    panels[0].set_xlabel(_WORDS["size"])
    legend(figure, panels, scored["seed"].nunique(), columns=2)
    return figure
