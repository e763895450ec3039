"""Figures 5 and 19: whether it matters that the truth is retrained from the optimum, not trained from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import look, new_figure
from experiments.core.report.tables import KEYS
from experiments.fragility.figure_parts import correlation_axis, legend, swarms
from experiments.fragility.reading import axes, ordered, pick, prefer, primary, tidy, top

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRUTHS = {"": "retrained from the optimum", "scratch": "trained from scratch"}


def both(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 5 over depth: (a) how far the two truths' parameters are apart, (b) the correlation with either."""
    networks = prefer(rows, "activation", "tanh")
    scores = prefer(primary(pick(networks, "spearman", size="")), "test", "max")
    scores = top(scores[scores["truth"].isin(list(_TRUTHS))])
    sizes = pd.concat([pick(networks, "distance", method="scratch"), pick(networks, "change_norm", method="retrain")])
    if not (scores["truth"] == "scratch").any() or "depth" not in axes(networks):
        return None
    middle = sizes.groupby([*KEYS, "depth", "metric"], as_index=False)["value"].median()
    parts = [tidy(scores, "test", "set", "truth").assign(panel="b"), middle.assign(panel="a", method="scratch")]
    caption = (
        "(a) Norm of the difference of the parameters trained from scratch and retrained from the optimum without the "
        "same point, beside the norm of the change that retraining makes: medians over the points. (b) Spearman "
        "correlation of estimated influence with either truth. Every seed and the median."
    )
    return Artefact(name, pd.concat(parts, ignore_index=True), lambda: _draw(middle, scores), caption)


def _draw(sizes: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 2, height=3.2)
    shown = sizes[sizes["value"] > 0]
    series = {"difference of the two truths": "distance", "change by retraining": "change_norm"}
    series_rows = {f"(a) {label}": shown[shown["metric"] == metric] for label, metric in series.items()}
    swarms(panels[0], series_rows, "depth", first=len(_TRUTHS))
    panels[0].set_yscale("log")
    panels[0].set_ylabel("norm, median over points")
    swarms(panels[1], {f"(b) {label}": scores[scores["truth"] == truth] for truth, label in _TRUTHS.items()}, "depth")
    correlation_axis(panels[1], "Spearman correlation")
    for ax, letter in zip(panels, "ab", strict=True):
        ax.set_title(f"({letter})", loc="left")
        ax.set_xlabel("layers")
    seeds = scores["seed"].nunique()
    legend(figure, panels, seeds)
    return figure


def distances(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 19: the same difference point by point, in order of size."""
    norms = pick(prefer(rows, "activation", "tanh"), "distance", method="scratch")
    if norms.empty:
        return None
    caption = (
        "Norm of the difference of the parameters trained from scratch and retrained from the optimum, point by point "
        "in order of size; one seed."
    )
    return Artefact(name, tidy(norms, "train"), lambda: _draw_distances(norms), caption)


def _draw_distances(norms: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 1, height=3.2)
    figure.set_size_inches(4.6, 3.2)
    (ax,) = panels
    shown = norms[(norms["seed"] == norms["seed"].min()) & (norms["value"] > 0)]
    for index, depth in enumerate(ordered(shown["depth"].unique())):
        values = np.sort(shown[shown["depth"] == depth]["value"].to_numpy())
        label = f"{depth} layer{'s' * (depth != '1')}" if depth else "difference"
        ax.plot(np.arange(1, len(values) + 1), values, label=label, markevery=max(1, len(values) // 6), **look(index))
    ax.set_yscale("log")
    ax.set_xlabel("removed training points, in order of size")
    ax.set_ylabel("norm of the difference")
    ax.set_title(f"seed {shown['seed'].min():g}" if len(shown) else "")
    legend(figure, panels, 1)
    return figure
