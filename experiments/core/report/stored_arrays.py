"""Arrays that cells keep beside their rows, for figures: named .npz files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.errors import MissingError
from experiments.core.sweep.whole import read_json

Arrays = dict[str, NDArray[Any]]
TODO = "remove the cell's folder and run the setting again"
"""What to do about a file that is damaged or holds something else."""


def arrays_of(
    folders: Sequence[Path], setting: str, seed: int, name: str, what: str
) -> Iterator[tuple[str, str, Arrays]]:
    """(point of the grid, where it lies, arrays) of each cell of `setting` and `seed` that keeps a file `name`.

    Args:
        folders: those of the cells. what: the arrays in words, for a fault: "the images".

    Raises:
        MissingError: a file cannot be read.
    """
    for folder in folders:
        cell, path = read_json(folder / "cell.json") or {}, folder / name
        if (cell.get("setting"), cell.get("seed")) == (setting, seed) and path.is_file():
            method, where = str(cell.get("method", "")), f"{folder.name}/{name}"
            yield method if "=" in method else "", where, _read(path, where, what)


def _read(path: Path, where: str, what: str) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MissingError(f"{what} cannot be read", where, TODO) from error
