"""Figures 1a, 1b and 7: norms of the change of parameters when a point is removed, estimated against measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import PALETTE, new_figure
from experiments.fragility.figure_parts import legend
from experiments.fragility.reading import beside, named, ordered, primary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DEEP = 100  # estimates are drawn down to this part of the smallest measured norm


def norms(rows: pd.DataFrame, name: str, activation: str) -> Artefact | None:
    """Figures 1a,b (ReLU) and 7 (tanh): every training point's two norms, with weight decay and without."""
    networks = rows[rows["activation"] == activation]
    pairs = primary(beside(networks, "change_norm", "change_norm"))
    if pairs.empty or "wd" not in pairs:
        return None
    caption = (
        f"Norm of the change of parameters when a training point is removed, {activation}: estimated with the "
        "influence function against retraining. Every training point of every seed; the line: equal. Estimates far "
        "below every measured norm are counted in the title."
    )
    frame = pairs.drop(columns=["point", "test", "size", "group"])
    return Artefact(name, frame, lambda: _draw(pairs), caption)


def _draw(pairs: pd.DataFrame) -> Figure:
    decays = ordered(pairs["wd"].unique())[::-1]
    figure, panels = new_figure(1, len(decays), height=3.2)
    colors = {seed: PALETTE[i % len(PALETTE)] for i, seed in enumerate(sorted(pairs["seed"].unique()))}
    for ax, wd in zip(panels, decays, strict=True):
        _panel(ax, pairs[pairs["wd"] == wd], colors)
        ax.set_title(named("wd", wd) + ax.get_title())
        ax.set_xlabel("norm of change by retraining")
    panels[0].set_ylabel("norm of change by influence function")
    legend(figure, panels, 1, columns=6)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, colors: dict[Any, str]) -> None:
    usable = rows[(rows["predicted"] > 0) & (rows["actual"] > 0)]
    for index, (seed, of_seed) in enumerate(usable.groupby("seed")):
        dots: dict[str, Any] = {"linestyle": "", "marker": "os^Dv"[index % 5], "markersize": 2.8, "markeredgewidth": 0}
        ax.plot(of_seed["actual"], of_seed["predicted"], alpha=0.6, color=colors[seed], label=f"seed {seed:g}", **dots)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if usable.empty:
        return
    low, high = float(usable["actual"].min()), float(usable[["predicted", "actual"]].max().max())
    floor = max(float(usable["predicted"].min()), low / _DEEP)
    ax.plot([low / 1.5, high * 1.5], [low / 1.5, high * 1.5], color="0.4", linewidth=0.8, linestyle="--", zorder=0,
            label="equal")  # fmt: skip
    ax.set_xlim(low / 1.5, float(usable["actual"].max()) * 1.5)
    ax.set_ylim(floor / 1.5, high * 1.5)
    below = len(rows) - int((usable["predicted"] >= floor).sum())
    if below:
        ax.set_title(f" ({below} of {len(rows)} estimates lie below)")
