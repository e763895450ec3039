"""How well each method agrees with leave-one-out truth, and whom it ranks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import look, new_figure
from experiments.core.report.tables import KEYS
from experiments.trace.figure_parts import legend
from experiments.trace.reading import METHODS, axes, main_scope, methods, pick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CORRELATIONS = {"pearson_truth": "Pearson", "spearman_truth": "Spearman"}
_HITS = {
    "localization": "a client that holds the label (is faulty)",
    "hit_most": "the client with most samples of the label",
    "hit_truth": "the client whose absence costs the logit most",
}
_CHANCE = {"correct": "chance to hold the label", "wrong": "chance to be faulty"}
_STEP = 0.2


def agreement(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Correlation of each method with the fall of the predicted logit when a participant is left out; first ranks."""
    scope = main_scope(rows)
    scored = pick(rows, [*_CORRELATIONS, *_HITS], scope=scope, method=list(METHODS))
    if not scored["metric"].isin(_CORRELATIONS).any():
        return None
    by = list(dict.fromkeys([*KEYS, *axes(rows), "dataset", "model", "scope", "method", "metric"]))
    each = scored.groupby(by, sort=False)["value"].mean().reset_index()
    chance = float(pick(rows, "chance", scope=scope)["value"].mean())
    caption = (
        "Left: correlation over the participants of a method's scores and leave-one-out truth, the fall of the "
        "predicted logit when a participant is left out of the round, averaged over inputs and rounds. Right: how "
        "often the first-ranked client is one that holds the label (of mispredictions: is faulty), the one with most "
        "samples of it, the one whose absence costs most; dashed: chance of the first. Leave-one-out truth as a method "
        "names the client whose absence costs most. A dot is a point of the grid and a seed, a bar their mean."
    )
    return Artefact(name, each, lambda: _draw(each, chance), caption)


def _draw(each: pd.DataFrame, chance: float) -> Figure:
    names = methods(each)
    figure, (left, right) = new_figure(1, 2)
    figure.set_size_inches(8.6, 0.46 * len(names) + 1.5)
    _strips(left, each, names, _CORRELATIONS, 0)
    left.axvline(0, color="0.4", linewidth=0.8, zorder=0)
    left.set_xlim(min(-0.05, float(each[each["metric"].isin(_CORRELATIONS)]["value"].min()) - 0.05), 1.05)
    left.set_xlabel("correlation with leave-one-out truth")
    left.set_yticks(range(len(names)), [METHODS[name] for name in names])
    _strips(right, each, names, _HITS, 2)
    right.axvline(
        chance, color="0.3", linewidth=1, linestyle=(0, (4, 2)), zorder=0, label=_CHANCE[str(each["scope"].iloc[0])]
    )
    right.set_xlim(0, 104)
    right.set_xlabel("first-ranked client, %")
    right.set_yticks(range(len(names)), [""] * len(names))
    for ax in (left, right):
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
    legend(figure, (left, right))
    return figure


def _strips(ax: Axes, each: pd.DataFrame, names: list[str], metrics: dict[str, str], first: int) -> None:
    """A row a method: dots, and a bar at their mean."""
    present = [metric for metric in metrics if (each["metric"] == metric).any()]
    for i, metric in enumerate(present):
        shift = (i - (len(present) - 1) / 2) * _STEP
        style = look(first + i)
        named = False
        dots: dict[str, Any] = {"linestyle": "", "marker": style["marker"], "markeredgewidth": 0, "markersize": 3.5}
        for j, name in enumerate(names):
            values = each[(each["metric"] == metric) & (each["method"] == name)]["value"]
            if values.empty:
                continue
            label, named = None if named else metrics[metric], True
            ax.plot(values, [j + shift] * len(values), color=style["color"], alpha=0.45, label=label, **dots)
            ax.plot([values.mean()] * 2, [j + shift - 0.1, j + shift + 0.1], color=style["color"], linewidth=2)
