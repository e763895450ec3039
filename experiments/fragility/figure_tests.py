"""Correlation by test point (Figs. 3a, 3b, 4), by set of training points (16), by architecture and optimiser (15)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import look, new_figure
from experiments.fragility.figure_axis import scores, scores_by_point
from experiments.fragility.figure_parts import correlation_axis, legend, relabel, swarms
from experiments.fragility.reading import (
    SCORES,
    axes,
    correlations,
    decayed,
    named,
    ordered,
    pick,
    prefer,
    primary,
    printed,
    split_set,
    test_words,
    tidy,
    top,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETS = {"top": "top influential points", "p30": "points at percentile 30 of influence"}


def by_decay(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 3a and 3b: Spearman by test point, with and without decay, on the top points and at percentile 30."""
    scored = primary(pick(rows, list(SCORES), truth="", size=""))
    sets = {"top": top(scored), "p30": scored[scored["set"] == "p30"]}
    parts = {kind: subset for kind, subset in sets.items() if len(subset)}
    if not parts:
        return None
    frame = pd.concat([tidy(subset, "test", "set", "n") for subset in parts.values()], ignore_index=True)
    caption = (
        "Spearman correlation of estimated and measured influence by test point, on the most influential training "
        "points and on those at percentile 30 of the influence; every seed and the median. Pearson is in the CSV."
    )
    return Artefact(name, frame.drop_duplicates(), lambda: _draw_tests(parts), caption)


def _draw_tests(parts: dict[str, pd.DataFrame]) -> Figure:
    figure, panels = new_figure(1, len(parts), height=3.6, sharey=True)
    figure.set_size_inches(5.0 * len(parts), 3.7)
    everything = pd.concat(parts.values())
    tests = ordered(everything["test"].unique())
    for ax, (kind, subset) in zip(panels, parts.items(), strict=True):
        shown = subset[subset["metric"] == "spearman"]
        series = {named("wd", wd) if wd else "Spearman": shown[shown["wd"] == wd] for wd in _decays(shown)}
        swarms(ax, series, "test", tests, joined=False)
        if kind == "top" and "wd" in axes(subset):
            _range(ax)
        ax.set_title(_SETS[kind])
        relabel(ax, tests, test_words, 35)
    for ax in panels:
        correlation_axis(ax, "Spearman correlation" if ax is panels[0] else "")
    low = min(ax.get_ylim()[0] for ax in panels)
    panels[0].set_ylim(low, 1.05)
    legend(figure, panels, everything["seed"].nunique())
    return figure


def _decays(rows: pd.DataFrame) -> list[str]:
    return ordered(rows["wd"].unique())[::-1]


def _range(ax: Axes) -> None:
    """The paper's highest and lowest test point with decay (section 5.2)."""
    ends = [printed(f"small_mnist.top.wd.spearman_{end}") for end in ("max", "min")]
    for value in ends:
        label = f"the paper, with decay: {ends[1]:g} to {ends[0]:g}" if value == ends[0] else None
        ax.axhline(value, color="0.35", linestyle=":", linewidth=1, label=label)


def by_test(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 4: Pearson and Spearman by test point on the top influential training points."""
    scored = top(primary(pick(rows, list(SCORES), truth="", size="")))
    caption = "Correlation of estimated and measured influence by test point, on the top influential training points."
    return _over(scored, name, "test", f"{caption} Every seed and the median.")


def by_architecture(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 15: correlation by architecture over the seeds, which set the initial weights."""
    caption = (
        "Correlation on the highest-loss test point and its top influential training points, with weight decay, by "
        "architecture. Every seed (another initialisation) and the median."
    )
    return _over(decayed(correlations(rows)), name, "arch", caption)


def by_optimizer(rows: pd.DataFrame, name: str) -> Artefact | None:
    """The optimisers of appendix 9.7, and the mean and standard deviation over them that the paper prints."""
    caption = (
        "Correlation on the highest-loss test point and its top influential training points by optimiser. Every seed "
        "and the median; bands: the paper's mean and standard deviation over the four."
    )
    return _over(correlations(rows), name, "optimizer", caption)


def _over(scored: pd.DataFrame, name: str, axis: str, caption: str) -> Artefact | None:
    if scored.empty or (axis != "test" and axis not in axes(scored)):
        return None
    return Artefact(name, tidy(scored, "test", "set", "n").drop_duplicates(), lambda: _draw(scored, axis), caption)


def _draw(scored: pd.DataFrame, axis: str) -> Figure:
    figure, panels = new_figure(1, 1, height=3.4)
    figure.set_size_inches(5.0, 3.5)
    (ax,) = panels
    series = scores_by_point(scored) if axis == "test" else scores(scored)
    places = swarms(ax, series, axis, joined=False)
    if axis == "optimizer":
        for index, score in enumerate(SCORES):
            _band(ax, score, index)
    correlation_axis(ax)
    relabel(ax, places, test_words if axis == "test" else lambda value: named(axis, value), 25)
    legend(figure, panels, scored["seed"].nunique(), columns=2)
    return figure


def _band(ax: Axes, score: str, index: int) -> None:
    key = f"deep.optimizers.lenet.mnist.{score}"
    mean, sd = printed(key), printed(f"{key}.sd")
    if math.isnan(mean):
        return
    style: dict[str, Any] = {"color": look(index)["color"], "linewidth": 0, "alpha": 0.15, "zorder": 0}
    ax.axhspan(mean - sd, mean + sd, label=f"the paper, {SCORES[score]}: {mean:g} ± {sd:g}", **style)


def by_set(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 16: correlation by number of training points, on those of highest and of lowest influence."""
    scored = primary(pick(rows, list(SCORES), truth="", size=""))
    scored = decayed(prefer(scored, "test", "max"))
    kinds = scored["set"].map(lambda name: split_set(name)[0])
    counts = scored["set"].map(lambda name: split_set(name)[1]).fillna(scored["n"])
    scored = scored.assign(kind=kinds, count=counts.map("{:g}".format))[kinds.isin(["top", "lowest"])]
    if not (scored["kind"] == "lowest").any():
        return None
    caption = (
        "Correlation over the number of training points, those of highest and those of lowest estimated influence; "
        "one test point of high loss; every seed and the median."
    )
    return Artefact(name, tidy(scored, "test", "set", "n"), lambda: _draw_sets(scored), caption)


def _draw_sets(scored: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 1, height=3.4)
    figure.set_size_inches(4.8, 3.4)
    series = {
        f"{label}, {kind}": of_label[of_label["kind"] == kind]
        for label, of_label in scores(scored).items() for kind in ("top", "lowest")
    }  # fmt: skip
    swarms(panels[0], series, "count")
    correlation_axis(panels[0])
    panels[0].set_xlabel("training points")
    legend(figure, panels, scored["seed"].nunique(), columns=2)
    return figure
