"""What the figures share: a line over seeds with its band, and the legend under the panels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.core.report import parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

line = partial(parts.line, marks=8, shade=0.12)


def legend(figure: Figure, ax: Axes, seeds: int, middle: str = "mean") -> None:
    """The legend of `ax` under all panels, with a word on what line and band are when there are several seeds.

    Where `ax` is empty (its client never took part) the other panels tell what the lines are.
    """
    handles = next((drawn for panel in (ax, *figure.axes) if (drawn := parts.entries([panel]))), {})
    handles |= {note.get_label(): note for note in band(seeds, middle)}
    columns = len(handles) if len(handles) <= 4 and max(map(len, handles), default=0) < 32 else 3
    parts.legend_below(figure, handles, columns)


def band(seeds: int, middle: str = "mean") -> list[Any]:
    """The legend entry that explains the band; none for one seed, which has no band."""
    from matplotlib.patches import Patch

    label = f"{middle} and range, {seeds} seeds"
    return [Patch(color="0.5", alpha=0.25, linewidth=0, label=label)] if seeds > 1 else []
