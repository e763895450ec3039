"""MNIST, Fashion-MNIST and other data sets in the IDX format."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.data._images import ShapedImages
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 8
"""Limit on the axes of an array in an IDX file; colour images have four."""


class Idx(ShapedImages):
    """`{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]` in a folder or in `raw/` below it.

    Pixels become 0..1, ink = 1, before mean and deviation are applied. Without natural clients: choose a partition.
    """

    kind: Literal["idx"] = "idx"
    path: str = Field("MNIST", description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's in small letters")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: the largest label plus one")

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        from experiments.core.data._files import locate

        require_parts(locate(self.path, data_dir))

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the four files; see `DataBlock.load`."""
        from experiments.core.data._files import locate
        from experiments.core.data.pool import make_pool

        folder = locate(self.path, data_dir)
        (x, y), (test_x, test_y) = read_parts(folder)
        classes = self.outputs or int(max(part.max(initial=1) for part in (y, test_y))) + 1
        rows, test_rows = self.kept_rows(y, "train"), self.kept_rows(test_y, "test")
        train, test = (
            (self.shaped(pixels(images, str(folder)), str(folder)), labels)
            for images, labels in ((x[rows], y[rows]), (test_x[test_rows], test_y[test_rows]))
        )
        pool = make_pool(str(folder), train, test, classes, self.name or folder.resolve().name.lower())
        return self.finished(pool, str(folder))


def require_parts(folder: Path) -> None:
    """Check that the four files are in a folder.

    Raises:
        MissingError: one is not.
    """
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        _find(folder, f"{stem}-ubyte")


def read_parts(folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The training and the test part in a folder: images [n, H, W] as stored, labels [n] int64.

    Raises:
        MissingError: a file is not there.
        SpecError: one is damaged, or images and labels do not fit.
    """
    from experiments.core.data._labels import numbered_labels

    images, labels = [], []
    for part in ("train", "t10k"):
        x = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
        y = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
        if x.ndim != 3 or y.shape != (len(x),):
            raise SpecError(f"{part}: images {x.shape} with labels {y.shape}", str(folder), "fetch the files again")
        images.append(x)
        labels.append(y)
    train, test = zip(images, numbered_labels(str(folder), labels).parts, strict=True)
    return train, test


def pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Images [n, H, W] as inputs [n, 1, H, W] of 0..1; see `unit_range`."""
    from experiments.core.data._images import unit_range

    return unit_range(images[:, None], where)


def read_idx(file: Path) -> np.ndarray:
    """The array of one IDX file, unpacked when its name ends in .gz.

    Raises:
        SpecError: it is not IDX, or shorter or longer than its header says.
    """
    import numpy as np

    from experiments.core.data._unpack import read_bytes

    raw = read_bytes(file)
    rank = raw[3] if len(raw) > 3 else 0
    if len(raw) < 4 + 4 * rank or not 1 <= rank <= MOST_AXES or raw[:2] != b"\0\0" or raw[2] not in TYPES:
        raise SpecError("not an IDX file", str(file), "fetch it again")
    shape = np.frombuffer(raw, ">u4", rank, 4).tolist()
    kind = np.dtype(TYPES[raw[2]])
    if 0 in shape or len(raw) != 4 + 4 * rank + kind.itemsize * prod(shape):
        raise SpecError(
            f"{len(raw)} bytes do not hold {shape} values", str(file), "the file is cut short: fetch it again"
        )
    return np.frombuffer(raw, kind, offset=4 + 4 * rank).reshape(shape)


def _find(folder: Path, stem: str) -> Path:
    """The file `stem`, compressed or not, in the folder or in `raw/`."""
    for directory in (folder, folder / "raw"):
        for name in (f"{stem}.gz", stem):
            if (directory / name).is_file():
                return directory / name
    from experiments.core.data._files import absent

    raise absent(f"no {stem}[.gz]", f"{folder} or {folder / 'raw'}", folder.name, folder.parent)
