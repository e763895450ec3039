"""What each variant of FedImpro is worth beside the released one: every seed and the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report.panels import grid, legend, seeds_note
from experiments.core.report.style import look
from experiments.impro.reading import DATA, MODELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(each: pd.DataFrame) -> Figure:
    """A panel a data set and model, a line a variant.

    Args:
        each: columns net, data, variant, seed, difference (points of accuracy).
    """
    groups = list(each.groupby(["net", "data"], sort=False))
    variants = list(dict.fromkeys(each["variant"]))
    figure, panels, _ = grid(len(groups), 3, sharey=True)
    figure.set_size_inches(max(4.8, 3.2 * len(groups)), 0.28 * len(variants) + 1.4)
    for ax, ((net, data), part) in zip(panels, groups, strict=True):
        for i, variant in enumerate(variants):
            values = part[part["variant"] == variant]["difference"].dropna()
            ax.plot(values, [i] * len(values), "o", color="0.55", markersize=3, label="a seed")
            ax.plot([values.mean()], [i], **{**look(1), "linestyle": "", "markersize": 5}, label="mean over seeds")
        ax.axvline(0, color="0.3", linewidth=0.8)
        ax.set_title(f"{MODELS.get(net, net)}, {DATA.get(data, data)}")
        ax.set_xlabel("best accuracy less that of released [points]")
    panels[0].set_yticks(range(len(variants)), variants)
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    legend(figure, panels, seeds_note(each["seed"].nunique(), "paired by seed"))
    return figure
