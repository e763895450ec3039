"""What the figures share: the look of an algorithm, and the paper's numbers as stars in its colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.core.report import parts
from experiments.core.report.panels import STARRED
from experiments.core.report.style import PALETTE, STAR, look
from experiments.impro.reading import look_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def style(method: str) -> dict[str, Any]:
    """Colour, dash and mark of an algorithm, the same in every figure."""
    return look(look_of(method))


def star(ax: Axes, x: Sequence[float], values: Sequence[float], method: str, name: str = "") -> None:
    """The paper's numbers in the colour of their algorithm; those that it does not print are left out.

    `name` is written beside them where the legend has no mark of that algorithm.
    """
    fill = "white" if name else PALETTE[look_of(method) % len(PALETTE)]
    size: dict[str, Any] = {"markersize": 8, "markeredgewidth": 0.6}
    if parts.stars(ax, x, values, clip_on=False, markerfacecolor=fill, **size):
        ax.plot([], [], label=STARRED, **{**STAR, **size, "markerfacecolor": "0.8"})
    for at, value in zip(x, values, strict=True):
        if name and not math.isnan(value):
            ax.annotate(name, (at, value), (5, -2), textcoords="offset points", fontsize=6)
