"""Whether the correlation falls with depth, by initialisation and weight decay: a study of our own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import hide
from experiments.core.report.style import formula, new_figure
from experiments.fragility import blanks
from experiments.fragility.reading import axes, by_place, correlations, ordered, pick, point_words, undefined

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shape_of(grid: list[str]) -> str:
    """The axis along which the network grows."""
    return "shape" if "shape" in grid else "depth"


def table(rows: pd.DataFrame, name: str) -> Artefact | None:
    """One row a point of the grid: Spearman over seeds, networks without it, curvature, gradient; and a heat map."""
    points = pick(rows, "train_loss", method="train")
    grid = axes(points)
    if shape_of(grid) not in grid or "wd" not in grid:
        return None
    scored = correlations(rows)
    scored = scored[scored["test"] == scored["test"].min()]  # max before p50
    spearman = scored[scored["metric"] == "spearman"].groupby("point")["value"]
    pearson = scored[scored["metric"] == "pearson"].groupby("point")["value"]
    frame = points[["setting", "scale", "point", *grid]].drop_duplicates().set_index("point")
    frame["spearman"], frame["low"], frame["high"] = spearman.median(), spearman.min(), spearman.max()
    frame["pearson"] = pearson.median()
    lost = undefined(rows, scored, "point")
    frame["networks"], frame["undefined"], frame["constant output"] = (
        lost["trained"], lost["undefined"], lost["constant"],
    )  # fmt: skip
    for metric in ("top_eigenvalue", "gradient_norm", "test_accuracy"):
        frame[metric.replace("_", " ")] = pick(rows, metric, method="train").groupby("point")["value"].median()
    caption = (
        "Spearman correlation (median, low and high over seeds; Pearson's median) of estimated and measured influence "
        "by initialisation, weight decay and depth; how many networks have none; medians of curvature, gradient norm "
        "at the optimum and test accuracy."
    )
    frame = by_place(frame, grid)
    return Artefact(name, frame, lambda: _draw(frame, grid), caption, table_md=True, blanks=blanks.DECLINE)


def _draw(frame: pd.DataFrame, grid: list[str]) -> Figure:
    shape = shape_of(grid)
    panel_axes = [key for key in grid if key not in (shape, "wd")]
    words = [" ".join(f"{key}={row[key]}" for key in panel_axes) for _, row in frame.iterrows()]
    kinds = list(dict.fromkeys(words))
    columns = min(3, len(kinds))
    figure, panels = new_figure(math.ceil(len(kinds) / columns), columns, height=2.6)
    depths, decays = ordered(frame[shape].unique()), ordered(frame["wd"].unique())
    low = min(0.0, float(frame["spearman"].min()))
    for ax, kind in zip(panels, kinds, strict=False):
        part = frame[[word == kind for word in words]]
        table = part.pivot_table(index="wd", columns=shape, values="spearman", dropna=False)
        values = table.reindex(index=decays, columns=depths).to_numpy(dtype=float)
        image = ax.imshow(values, cmap="cividis", vmin=low, vmax=1, aspect="auto", origin="lower")
        ax.grid(False)
        ax.set_xticks(range(len(depths)), depths)
        ax.set_yticks(range(len(decays)), decays)
        ax.set_title(point_words(kind))
        for (row, column), value in np.ndenumerate(values):
            cell = part[(part["wd"] == decays[row]) & (part[shape] == depths[column])]
            _write(ax, column, row, value, cell, dark=not value > (low + 1) / 2)
    hide(panels, len(kinds))
    for ax in panels[:: columns or 1]:
        ax.set_ylabel("weight decay " + formula(r"\lambda"))
    for ax in panels[max(0, len(kinds) - columns) : len(kinds)]:
        ax.set_xlabel(f"{shape} (a/b: a of b undefined)")
    figure.colorbar(image, ax=panels[: len(kinds)], label="Spearman, median", shrink=0.9)
    return figure


def _write(ax: object, x: int, y: int, value: float, cell: pd.DataFrame, dark: bool) -> None:
    """The median and how many networks have none, in a colour that can be read on the cell's."""
    if cell.empty:
        return
    lost, all_of_them = int(cell["undefined"].iloc[0]), int(cell["networks"].iloc[0])
    text = "\n".join(([f"{value:.2f}"] if math.isfinite(value) else []) + ([f"{lost}/{all_of_them}"] if lost else []))
    color = "black" if math.isnan(value) or not dark else "white"
    ax.text(x, y, text, ha="center", va="center", fontsize=5.5, color=color)  # type: ignore[attr-defined]
