"""Figure 3: how alike the picks of each score are, a bar a score, with the pairs of seeds as what can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report import panels
from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import stars
from experiments.core.report.style import PALETTE, STAR
from experiments.core.report.tables import about
from experiments.vog import printed
from experiments.vog.consistency import BLANKS, CAPTION, averaged, pair_words, place_words
from experiments.vog.likeness import METRICS, TOP
from experiments.vog.pairs import ALL, SEED
from experiments.vog.reading import NONE, epsilon, label_of, look_of, methods

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = ("pearson_top", "spearman", "overlap")
_ACROSS = 3  # metrics in a row
_LINES = 4  # rows of panels


def figure3(lines: pd.DataFrame, floors: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The four or more scores under normal and private training; None without both, or without two models.

    Args:
        lines: as `pairs.measured` makes them. floors: see `consistency.averaged`. rows: the setting's.
    """
    frame = chosen(averaged(lines, floors))
    if frame.empty:
        return None
    frame = frame.assign(paper=[
        printed.top_of(str(m), str(a), str(b)) if metric == "pearson_top" else np.nan
        for m, a, b, metric in zip(frame["method"], frame["first"], frame["second"], frame["metric"], strict=True)
    ])  # fmt: skip
    told = frame.drop(columns=["first_point", "second_point"])
    told = told.assign(**about(rows))[[*about(rows), *told.columns]]
    blanks = BLANKS | {"paper": "the paper prints no number for it"}
    return Artefact(name, told, lambda: draw(frame), f"Scores with and without privacy. {CAPTION}", blanks=blanks)


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """Of `consistency.averaged`: highest scores of all classes, one seed on both sides, the pair that tells most.

    By place that is eps 4 against none, as in the paper, else the largest epsilon against none, else any other axis'
    pairs, else pairs of seeds.
    """
    if frame.empty:
        return frame
    frame = frame[(frame["class"] == ALL) & (frame["pick"] == "highest") & frame["metric"].isin(_SHOWN)]
    same = frame[(frame["seeds"] == "same") & (frame["between"] != SEED)]
    private = same[(same["between"] == "eps") & (same["second"] == NONE)]
    if len(private):
        most = max(private["first"].unique(), key=lambda e: (e == "4", epsilon(e)))
        return private[private["first"] == most].reset_index(drop=True)
    return (same if len(same) else frame).reset_index(drop=True)


def draw(frame: pd.DataFrame) -> Figure:
    """A row of panels for each pair of cells, a panel for each of three numbers."""
    known = [metric for metric in _SHOWN if metric in set(frame["metric"])]
    parts = list(frame.groupby(["where", "first", "second", "between"], sort=False))[:_LINES]
    figure, axes, _ = panels.grid(len(known) * len(parts), len(known), 2.3)
    for i, ((where, first, second, between), part) in enumerate(parts):
        for j, metric in enumerate(known):
            ax = axes[i * len(known) + j]
            _bars(ax, part[part["metric"] == metric])
            ax.set_ylabel(_LABEL[metric])
        what = filter(None, [place_words(str(where)), pair_words(between, first, second)])
        axes[i * len(known)].set_title(", ".join(what), loc="left")
    panels.legend(figure, axes, "bars: mean, whiskers: range over pairs of cells of one seed")
    return figure


_LABEL = {"pearson_top": f"Pearson, top {TOP}", "spearman": METRICS["spearman"], "overlap": METRICS["overlap"]}


def _bars(ax: Axes, part: pd.DataFrame) -> None:
    kinds = methods(part["method"])
    part = part.set_index("method").loc[kinds].reset_index()
    at = np.arange(len(part))
    colors = [PALETTE[look_of(method) % len(PALETTE)] for method in kinds]
    reach = np.array([part["value"] - part["low"], part["high"] - part["value"]])
    ax.bar(at, part["value"], 0.62, yerr=reach, color=colors, error_kw={"elinewidth": 0.8, "capsize": 2})
    for i, (ceiling, chance) in enumerate(zip(part["ceiling"], part["chance"], strict=True)):
        span = np.array([i - 0.42, i + 0.42])
        ax.plot(span, [ceiling] * 2, color="black", linewidth=1.4, label="pairs of seeds, no DP")
        ax.plot(span, [chance] * 2, color="0.4", linestyle=":", linewidth=1.2, label="chance")
    if "paper" in part and stars(ax, at.tolist(), part["paper"].tolist(), markersize=8):
        ax.plot([], [], label=panels.STARRED, **{**STAR, "markersize": 8})
    ax.set_xticks(at, [label_of(kind) for kind in kinds], rotation=40, ha="right", rotation_mode="anchor")
    ax.grid(axis="x", visible=False)
