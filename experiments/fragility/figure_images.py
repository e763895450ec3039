"""Test images beside the training images of most influence (Figs. 9, 10, 12 to 14, 17), from the cells' images.npz."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.errors import MissingError
from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import hide
from experiments.core.report.stored_arrays import TODO, arrays_of
from experiments.core.report.style import new_figure
from experiments.core.report.tables import KEYS
from experiments.fragility.figure_scatter import panels_of
from experiments.fragility.reading import (
    METHODS,
    axes,
    decayed,
    imagenet_tests,
    pick,
    point_words,
    prefer,
    primary,
    test_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "images.npz"
Images = dict[str, np.ndarray]
"""`<point> test=<T>|test` or `<point> test=<T>|train=<i>` -> uint8 [H, W] or [H, W, 3]."""

_ROWS = 8


def load(folders: Sequence[Path], setting: str, seed: int) -> Images:
    """The images that the cells of `setting` and `seed` keep; none where they keep none.

    Raises:
        MissingError: a file that cannot be read, or that holds something else.
    """
    images: Images = {}
    for _, where, arrays in arrays_of(folders, setting, seed, FILE, "the images"):
        images |= {key: _checked(key, image, where) for key, image in arrays.items()}
    return images


def _checked(key: str, image: np.ndarray, where: str) -> np.ndarray:
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise MissingError(f"{key!r} is no image: {image.dtype} {list(image.shape)}", where, TODO)
    return image


_PICK = ["method", "test", "train"]


def influential(rows: pd.DataFrame, images: Images) -> pd.DataFrame:
    """The training images that are kept, largest absolute influence first within a point and test point.

    Returns:
        KEYS, axes, point, method, test, test_index, test_label, rank, train, label, influence.
    """
    ranked = pick(rows, "influence", method=list(METHODS), size="").drop_duplicates(["seed", "point", *_PICK])
    picked = {tuple(pair) for pair in pick(rows, "influence_of_rank")[["point", "method"]].itertuples(index=False)}
    if picked:  # the method that picked the images
        pairs = pd.Series(zip(ranked["point"], ranked["method"], strict=True), index=ranked.index, dtype=object)
        ranked = ranked[pairs.isin(picked)]
    ranked = primary(ranked)
    ranked = ranked[ranked["seed"] == ranked["seed"].min()]
    keys = [f"{_key(p, t)}|train={i}" for p, t, i in ranked[["point", "test", "train"]].itertuples(index=False)]
    ranked = ranked[[key in images for key in keys]]
    on = [*KEYS, "point", "test"]
    for metric, column, method, more in (
        ("test_index", "test_index", "test", []), ("test_label", "test_label", "test", []),
        ("label", "label", "data", ["train"]),
    ):  # fmt: skip
        extra = pick(rows, metric, method=method)[[*on, *more, "value"]].rename(columns={"value": column})
        ranked = ranked.merge(extra.drop_duplicates([*on, *more]), on=[*on, *more], how="left")
    ranked = ranked.assign(influence=ranked["value"], size_of=ranked["value"].abs())
    ranked = ranked.sort_values(["point", "test", "size_of", "train"], ascending=[True, True, False, True])
    ranked["rank"] = ranked.groupby(["point", "test"]).cumcount() + 1
    extra = ["point", "method", "test", "test_index", "test_label", "rank", "train", "label", "influence"]
    return ranked[[*KEYS, *axes(rows), *extra]].reset_index(drop=True)


def _key(point: str, test: str) -> str:
    return f"{point} test={test}" if point else f"test={test}"


class Gallery:
    """The kept images of one setting and its first seed, and the figures made of them."""

    def __init__(self, rows: pd.DataFrame, folders: Sequence[Path]) -> None:
        first = rows[rows["seed"] == rows["seed"].min()]
        self.images = load(folders, str(first["setting"].iloc[0]), int(first["seed"].iloc[0]))
        self.ranked = influential(first, self.images) if self.images else pd.DataFrame()

    def rows(self, name: str, tests: Sequence[str] = (), architecture: str = "") -> Artefact | None:
        """A row a test point: its image, and the training images of most influence (Figs. 9, 10, 17).

        `tests` names the test points that must be there (all when empty), `architecture` the one preferred, trained
        with decay.
        """
        chosen = self.ranked
        if tests and len(chosen):
            chosen = chosen[chosen["test"].isin(tests)]
            chosen = chosen if set(chosen["test"]) == set(tests) else chosen.iloc[:0]
        if architecture and len(chosen):
            chosen = prefer(decayed(chosen), "arch", architecture)
        if chosen.empty:
            return None
        shown = panels_of(chosen)[:_ROWS]
        caption = (
            "A test image and the training images of most (absolute) estimated influence on its loss; under each its "
            "class and the estimated change of the test loss when it is removed, in nats. One seed."
        )
        return Artefact(name, chosen.drop(columns="point"), lambda: self._draw_rows(chosen, shown), caption)

    def _draw_rows(self, chosen: pd.DataFrame, shown: list[tuple[str, str]]) -> Figure:
        columns = 1 + min(5, int(chosen["rank"].max()))
        figure, axs = new_figure(len(shown), columns)
        figure.set_size_inches(1.15 * columns + 0.2, 1.55 * len(shown) + 0.25)
        hide(axs, 0)
        for index, (point, test) in enumerate(shown):
            line = axs[index * columns : (index + 1) * columns]
            at = chosen[(chosen["point"] == point) & (chosen["test"] == test)].sort_values("rank")
            first = at.iloc[0]
            about = [point_words(point), f"test {first['test_index']:g}" if first["test_index"] >= 0 else test]
            self._tile(
                line[0], f"{_key(point, test)}|test", "\n".join(filter(None, [*about, _class(first["test_label"])]))
            )
            for ax, (_, row) in zip(line[1:], at.iterrows(), strict=False):
                self._influence(ax, row)
        figure.suptitle(f"most influential training images, seed {chosen['seed'].iloc[0]:g}")
        return figure

    def tests(self, name: str) -> Artefact | None:
        """The test images alone (Fig. 12)."""
        if self.ranked.empty:
            return None
        firsts = self.ranked.drop_duplicates(["point", "test"]).set_index("test", drop=False)
        chosen = firsts.loc[imagenet_tests(self.ranked)].reset_index(drop=True)
        return Artefact(name, chosen.drop(columns="point"), lambda: self._draw_tests(chosen), "The test images.")

    def _draw_tests(self, chosen: pd.DataFrame) -> Figure:
        figure, axs = new_figure(1, len(chosen))
        figure.set_size_inches(2.2 * len(chosen), 2.6)
        hide(axs, 0)
        for ax, (_, row) in zip(axs, chosen.iterrows(), strict=True):
            words = f"{test_words(row['test'])}\n{_class(row['test_label'])}"
            self._tile(ax, f"{_key(row['point'], row['test'])}|test", words)
        return figure

    def square(self, name: str, position: int) -> Artefact | None:
        """Up to 25 training images of most influence on the paper's test point number `position` (Figs. 13, 14)."""
        tests = imagenet_tests(self.ranked) if len(self.ranked) else []
        if position >= len(tests):
            return None
        chosen = prefer(self.ranked[self.ranked["test"] == tests[position]], "point").head(25)
        caption = f"The training images of most (absolute) estimated influence on {test_words(tests[position])}."
        return Artefact(name, chosen.drop(columns="point"), lambda: self._draw_square(chosen), caption)

    def _draw_square(self, chosen: pd.DataFrame) -> Figure:
        side = math.ceil(math.sqrt(len(chosen)))
        figure, axs = new_figure(math.ceil(len(chosen) / side), side)
        figure.set_size_inches(1.25 * side, 1.5 * math.ceil(len(chosen) / side) + 0.3)
        hide(axs, 0)
        for ax, (_, row) in zip(axs, chosen.iterrows(), strict=False):
            self._influence(ax, row)
        figure.suptitle(f"{test_words(chosen['test'].iloc[0])}, {_class(chosen['test_label'].iloc[0])}")
        return figure

    def _influence(self, ax: Axes, row: Any) -> None:
        words = f"{_class(row['label'])}\n{row['influence']:+.2g}"
        self._tile(ax, f"{_key(row['point'], row['test'])}|train={row['train']}", words)

    def _tile(self, ax: Axes, key: str, words: str) -> None:
        ax.set_title(words, fontsize=6)
        image = self.images.get(key)
        if image is None:
            ax.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=6, transform=ax.transAxes)
            return
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _class(label: float) -> str:
    return f"class {label:g}" if label == label else "class unknown"
