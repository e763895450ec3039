"""Pairs of 5 x 5 grids of images with the highest or lowest scores (Fig. 2, 4 to 10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.numbers import number
from experiments.core.report.style import new_figure
from experiments.core.report.tables import about
from experiments.core.scores.images import grid
from experiments.vog.compared import Compared
from experiments.vog.grid_pairs import Shown, Wanted, class_words, found, frame
from experiments.vog.likeness import GRID, Side
from experiments.vog.reading import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = (
    "Images with the highest or lowest scores, the first in the upper left. SSIM and BD (Bhattacharyya distance) are "
    "of the two grids in grey. seeds: the same of two seeds without privacy and without any other change, which is "
    "what can be expected; chance: of random images of the class; paper: the number under its figure, of its own model "
    "and data. First seed."
)


def pictures(compared: Compared, wanted: Wanted, rows: pd.DataFrame, name: str) -> Artefact | None:
    """One of the paper's figures of grids; None where no two such grids are stored.

    Args:
        compared: the cells. wanted: what it shows. rows: the setting's.
    """
    shown = found(compared, wanted)
    if not shown:
        return None
    told = frame(shown).assign(**about(rows))
    columns = [*about(rows), *(column for column in told.columns if column not in about(rows))]
    what = f"{'Lowest' if wanted.lowest else 'Highest'} {label_of(wanted.method)}, {class_words(shown[0])}. "
    return Artefact(name, told[columns], lambda: _draw(shown), what + _CAPTION)


def _draw(shown: list[Shown]) -> Figure:
    figure, axes = new_figure(len(shown), 2)
    figure.set_size_inches(6.4, 3.75 * len(shown))
    for i, one in enumerate(shown):
        for ax, side, title in zip(axes[2 * i : 2 * i + 2], (one.first, one.second), one.titles, strict=True):
            _panel(ax, side, one)
            ax.set_title(title)
        axes[2 * i].set_ylabel(f"{one.place}\n{_what(one)}".strip(), fontsize=7)
        axes[2 * i].set_xlabel("\n".join(_words(one)[:2]), fontsize=7)
        axes[2 * i + 1].set_xlabel("\n".join(_words(one)[2:]), fontsize=7)
    return figure


def _what(one: Shown) -> str:
    kinds = dict.fromkeys([label_of(one.first.method), label_of(one.second.method)])
    return f"{'lowest' if one.lowest else 'highest'} {' and '.join(kinds)}, {class_words(one)}"


def _panel(ax: Axes, side: Side, one: Shown) -> None:
    images = side.scored.pictures(side.leading(one.label, GRID, one.lowest))
    if images is not None:
        ax.imshow(_framed(images), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])


def _framed(images: np.ndarray) -> np.ndarray:
    """Images [k, C, h, w] in reading order with a white margin: [H, W], or [H, W, 3] of colour."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    whole = grid(framed)
    return np.asarray(whole[0] if len(whole) != 3 else np.moveaxis(whole, 0, 2))


def _words(one: Shown) -> list[str]:
    """A line for each of overlap, SSIM and BD, with the pairs of seeds, chance and the paper's number."""
    names = {"overlap": f"same of {GRID}", "ssim": "SSIM", "bd": "BD"}
    return [_line(names[metric], one.numbers[metric]) for metric in names]


def _line(name: str, told: dict[str, float]) -> str:
    known = {"seeds": told["ceiling"], "chance": told["chance"], "paper": told["paper"]}
    beside = ", ".join(f"{word} {number(value, 2)}" for word, value in known.items() if not math.isnan(value))
    return f"{name}: {number(told['value'], 3)}" + (f" ({beside})" if beside else "")
