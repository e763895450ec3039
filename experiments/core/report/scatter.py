"""Estimated against exact values, sample by sample: what every paper here draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.core.names import shortened
from experiments.core.report.style import PALETTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_NAMED = 12  # points that are worth a name


def cloud(ax: Axes, points: pd.DataFrame, colors: dict[float, int], scale: float) -> None:
    """Points of all seeds, the line of equality, and limits that a few far estimates do not set.

    Args:
        ax: where. points: columns seed, exact, estimated. colors: seed -> its place in the palette.
        scale: both are divided by it.
    """
    for seed, index in colors.items():
        of_seed = points[points["seed"] == seed]
        if of_seed.empty:
            continue
        dots: dict[str, Any] = {"linestyle": "", "marker": "os^Dv"[index % 5], "markersize": 2.8, "markeredgewidth": 0}
        color = PALETTE[index % len(PALETTE)]
        exact, estimated = of_seed["exact"] / scale, of_seed["estimated"] / scale
        ax.plot(exact, estimated, color=color, alpha=0.65, label=f"seed {seed:g}", **dots)
    low, high = limits(points["exact"].to_numpy() / scale, points["estimated"].to_numpy() / scale)
    ax.axline((0, 0), slope=1, color="0.4", linewidth=0.8, linestyle="--", zorder=0, label="equal")
    ax.set_ylim(low, high)
    estimated = points["estimated"] / scale
    outside = int((~estimated.between(low, high)).sum())
    if outside:
        far = f"{outside} of {len(points)} points outside,\n{estimated.min():.2g} to {estimated.max():.2g}"
        ax.text(0.97, 0.06, far, transform=ax.transAxes, ha="right", va="bottom", fontsize=6,
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1})  # fmt: skip


def name_points(ax: Axes, points: pd.DataFrame, scale: float) -> None:
    """Write its name beside each point far from the middle, as long as names do not cover each other.

    Args:
        ax: as `cloud` left it. points: columns client, exact, estimated, of one seed. scale: as in `cloud`.
    """
    low, high = ax.get_ylim()
    apart = np.abs(points["exact"] - points["exact"].median()).sort_values(ascending=False).index
    taken: list[float] = []
    for row in points.loc[apart[:_NAMED]].itertuples():
        y = float(row.estimated) / scale
        if low < y < high and all(abs(y - other) > 0.05 * (high - low) for other in taken):
            taken.append(y)
            right = float(row.exact) > float(points["exact"].mean())
            ax.annotate(
                shortened(str(row.client)), (float(row.exact) / scale, y), fontsize=6, va="center",
                xytext=(-4 if right else 4, 0), textcoords="offset points", ha="right" if right else "left",
            )  # fmt: skip


def limits(exact: np.ndarray, estimated: np.ndarray) -> tuple[float, float]:
    """Limits of the vertical axis: all exact values, and the estimates not far from the middle nine tenths."""
    near = estimated[np.isfinite(estimated)]
    low, high = np.quantile(near, [0.05, 0.95]) if len(near) else (0.0, 0.0)
    wide = 1.5 * max(high - low, float(np.ptp(exact)), 1e-12)
    inside = near[(near >= low - wide) & (near <= high + wide)]
    bottom, top = min(float(exact.min()), *inside, 0.0), max(float(exact.max()), *inside, 0.0)
    pad = 0.05 * max(top - bottom, 1e-12)
    return bottom - pad, top + pad
