"""Reading the inversion.npz of a setting's cells."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.errors import MissingError
from experiments.core.sweep.whole import read_json

FILE = "inversion.npz"
_TODO = "remove the cell's folder and run the setting again"
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
    found = []
    for folder in folders:
        cell = read_json(folder / "cell.json") or {}
        if (cell.get("setting"), cell.get("seed")) == (setting, seed) and (folder / FILE).is_file():
            method = str(cell.get("method", ""))
            found.append(_checked(_read(folder / FILE), method if "=" in method else "", f"{folder.name}/{FILE}"))
    return found


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MissingError("the reconstructed images cannot be read", f"{path.parent.name}/{FILE}", _TODO) from error


def _checked(arrays: dict[str, NDArray[Any]], point: str, where: str) -> Inverted:
    sizes: dict[str, int] = {}
    for key, letters in _SHAPES.items():
        shape = arrays[key].shape if key in arrays else ()
        fits = len(shape) == len(letters)
        if not fits or any(sizes.setdefault(a, s) != s for a, s in zip(letters, shape, strict=True)):
            raise MissingError(f"{key!r} of the reconstructed images is not [{letters}]", where, _TODO)
    return Inverted(point=point, **{key: arrays[key] for key in _SHAPES})
