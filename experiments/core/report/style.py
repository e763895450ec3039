"""The look of every figure: colours told apart by colour-blind readers, print sizes, no display, no global state."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008), yellow left out: it is too light for lines on white."""

_LINES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_COLUMN = 3.5  # inches, the width of one printed column

STAR: dict[str, Any] = {
    "marker": "*", "markersize": 10, "linestyle": "", "color": "black", "markerfacecolor": "gold", "zorder": 5,
}  # fmt: skip
"""How a number of a paper's is marked."""

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.dpi": 100,
    "figure.titlesize": 9,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "savefig.dpi": 200,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


_OURS: set[str] = set()


def formula(text: str) -> str:
    """`text` to be set as mathematics in a label. A dollar in any other text of a figure is a dollar."""
    _OURS.add(text)
    return f"${text}$"


def with_formulas(label: str) -> str:
    """`label`, in which what stands between two dollars is to be set as mathematics (see `formula`)."""
    _OURS.update(label.split("$")[1::2])
    return label


def literal(figure: Figure) -> None:
    """Let nothing in `figure` be read as mathematics but `formula` and the numbers that matplotlib writes on axes."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        pieces = text.get_text().split("$")
        if len(pieces) > 1 and not (len(pieces) % 2 and all(_known(piece) for piece in pieces[1::2])):
            text.set_parse_math(False)


def _known(piece: str) -> bool:
    return piece in _OURS or re.fullmatch(r"\\mathdefault\{[-0-9.e^{}\\times]*\}", piece) is not None


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Use matplotlib's own defaults plus ours, whatever the user's matplotlibrc says, for drawing and for saving."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # leaves the backend alone
        matplotlib.rcParams.update(RC)
        yield


def new_figure(rows: int = 1, columns: int = 1, height: float = 2.4, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns axes, each about one printed column wide, and its axes in reading order.

    It belongs to no window and no pyplot, so it leaves no trace when dropped. `shared` goes to `Figure.subplots`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_COLUMN * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def look(index: int) -> dict[str, Any]:
    """Colour, dash and mark of the series number `index`: told apart in grey print as well."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": _LINES[index % len(_LINES)],
        "marker": _MARKS[index % len(_MARKS)],
    }
