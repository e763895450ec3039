"""Reading the scores.npz of a setting's cells: all scores of all samples, and the images that grids show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.errors import MissingError
from experiments.core.report.stored_arrays import TODO, arrays_of
from experiments.core.scores.per_class import How, scaled
from experiments.core.study.removal import ranked
from experiments.core.subject import subject, words
from experiments.core.sweep.cell import COLUMNS

FILE = "scores.npz"
_SHAPES = {"methods": "m", "raw": "mn", "labels": "n", "flipped": "n"}
_IMAGES = {"image_rows": "i", "images": "ichw"}


@dataclass(frozen=True)
class Scored:
    """The scores of one cell, M methods of n samples.

    Attributes:
        point: of the grid, as `reading.parse` writes it. seed: of the run. methods: [M] their kinds.
        raw: [M, n]. labels: [n]. flipped: [n] bool, whose label was planted. how: in which way they are scaled.
        image_rows: [m] which samples' images are stored. images: [m, C, H, W] bytes.
    """

    point: str
    seed: int
    methods: tuple[str, ...]
    raw: NDArray[Any]
    labels: NDArray[Any]
    flipped: NDArray[Any]
    how: How
    image_rows: NDArray[Any]
    images: NDArray[Any]

    @property
    def n(self) -> int:
        """Training samples."""
        return len(self.labels)

    @cached_property
    def classes(self) -> list[int]:
        """The classes that have samples, rising."""
        return [int(label) for label in np.unique(self.labels)]

    @cached_property
    def scaled(self) -> dict[str, NDArray[np.float64]]:
        """Method -> its scores [n] scaled within each class; NaN in a class where they have no scale."""
        return {name: scaled(raw, self.labels, self.how)[0] for name, raw in zip(self.methods, self.raw, strict=True)}

    @cached_property
    def _falling(self) -> dict[str, NDArray[np.int64]]:
        return self._ordered(largest=True)

    @cached_property
    def _rising(self) -> dict[str, NDArray[np.int64]]:
        return self._ordered(largest=False)

    def _ordered(self, largest: bool) -> dict[str, NDArray[np.int64]]:
        each = zip(self.scaled.items(), self.raw, strict=True)
        return {name: _order(values, raw, largest) for (name, values), raw in each}

    def of_class(self, label: int | None) -> NDArray[np.bool_]:
        """[n] whether a sample is of the class; None: all are."""
        return np.ones(self.n, dtype=bool) if label is None else np.asarray(self.labels == label)

    def leading(self, method: str, label: int | None, most: int, lowest: bool = False) -> NDArray[np.int64]:
        """The rows of the `most` highest scaled scores of a class (None: of all), in their order; ties by raw score."""
        order = (self._rising if lowest else self._falling)[method]
        return order[self.of_class(label)[order]][:most]

    @cached_property
    def _place(self) -> dict[int, int]:
        return {int(row): place for place, row in enumerate(self.image_rows)}

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The images [k, C, H, W] in 0..1 of `rows`; None where one is not stored."""
        places = [self._place.get(int(row)) for row in rows]
        if not places or None in places:
            return None
        return self.images[np.array(places)].astype(np.float64) / 255


def _order(values: NDArray[np.float64], raw: NDArray[Any], largest: bool) -> NDArray[np.int64]:
    """The samples with a scaled score in its order; ties by the raw score, then by number."""
    order = np.array(ranked(values, raw, largest=largest), dtype=np.int64)
    return order[np.isfinite(values[order])]


def load(folders: Sequence[Path], setting: str, seeds: Sequence[int]) -> list[Scored]:
    """What the cells of `setting` and `seeds` stored; cells without the file are left out.

    Raises:
        MissingError: a file cannot be read, or has other contents.
    """
    return [
        _checked(arrays, point, seed, where)
        for seed in seeds
        for point, where, arrays in arrays_of(folders, setting, seed, FILE, "the scores")
    ]


def _checked(arrays: dict[str, NDArray[Any]], point: str, seed: int, where: str) -> Scored:
    shapes = _SHAPES | (_IMAGES if "images" in arrays else {})
    sizes: dict[str, int] = {}
    for key, letters in shapes.items():
        shape = arrays[key].shape if key in arrays else ()
        fits = len(shape) == len(letters)
        if not fits or any(sizes.setdefault(a, s) != s for a, s in zip(letters, shape, strict=True)):
            raise MissingError(f"{key!r} of the scores is not [{letters}]", where, TODO)
    how = str(arrays.get("scaling", "minmax"))
    if how not in ("minmax", "zscore"):
        raise MissingError(f"scaling {how!r} of the scores is unknown", where, TODO)
    named = {f"{key}_" if key in COLUMNS else key: value for key, value in words(point).items()}
    return Scored(
        subject(**named),
        seed,
        tuple(str(name) for name in arrays["methods"]),
        arrays["raw"],
        arrays["labels"],
        arrays["flipped"],
        how,  # type: ignore[arg-type]
        arrays.get("image_rows", np.zeros(0, dtype=np.int64)),
        arrays.get("images", np.zeros((0, 1, 1, 1), dtype=np.uint8)),
    )
