"""Reading the inversion.npz of a setting's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from experiments.core.errors import MissingError
from experiments.core.report.stored_arrays import TODO, arrays_of

FILE = "inversion.npz"
_SHAPES = {
    "original": "nchw", "features": "nchw", "labels": "n", "mean": "gchw", "class_mean": "gchw", "classes": "g",
    "noised_mean": "lgchw", "noise": "l",
}  # fmt: skip


@dataclass(frozen=True)
class Inverted:
    """Images of one cell as bytes: of its own n images, G classes and L noise levels.

    Attributes:
        point: the cell's point of the grid. original, features: [n, C, H, W]. labels: [n].
        mean, class_mean: [G, C, H, W]. classes: [G]. noised_mean: [L, G, C, H, W]. noise: [L] deviations.
    """

    point: str
    original: NDArray[Any]
    features: NDArray[Any]
    labels: NDArray[Any]
    mean: NDArray[Any]
    class_mean: NDArray[Any]
    classes: NDArray[Any]
    noised_mean: NDArray[Any]
    noise: NDArray[Any]


def load(folders: Sequence[Path], setting: str, seed: int) -> list[Inverted]:
    """What the cells of `setting` and `seed` stored; cells without the file are left out.

    Raises:
        MissingError: a file cannot be read, or has other contents.
    """
    stored = arrays_of(folders, setting, seed, FILE, "the reconstructed images")
    return [_checked(arrays, point, where) for point, where, arrays in stored]


def _checked(arrays: dict[str, NDArray[Any]], point: str, where: str) -> Inverted:
    sizes: dict[str, int] = {}
    for key, letters in _SHAPES.items():
        shape = arrays[key].shape if key in arrays else ()
        fits = len(shape) == len(letters)
        if not fits or any(sizes.setdefault(a, s) != s for a, s in zip(letters, shape, strict=True)):
            raise MissingError(f"{key!r} of the reconstructed images is not [{letters}]", where, TODO)
    return Inverted(point=point, **{key: arrays[key] for key in _SHAPES})
