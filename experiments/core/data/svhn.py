"""SVHN, house numbers in the street: the cropped digits in the MATLAB files of their authors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.data._images import ScaledImages
from experiments.core.data.pool import Pool
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
CLASSES = 10


class Svhn(ScaledImages):
    """SVHN's cropped digits (Netzer et al. 2011): 73,257 to train with, 26,032 to test, without the extra ones.

    Images are [3, 32, 32] in 0..1, labels 0 to 9 (the files call the digit 0 a 10). Without natural clients: choose a
    partition.
    """

    kind: Literal["svhn"] = "svhn"
    path: str = Field("svhn", description="folder of the two files, from the working directory or else the data folder")
    normalise: bool = Field(
        False, description="shift and scale each channel by mean and deviation of the training images"
    )

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (3, 32, 32), CLASSES, float(self.keep_train or 73_257), 1

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        self._files(data_dir)

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the two files; see `DataBlock.load`."""
        from experiments.core.data.pool import make_pool

        files = self._files(data_dir)
        train, test = self._part(files["train"], "train"), self._part(files["test"], "test")
        where = str(files["train"].parent)
        return self.finished(make_pool(where, train, test, CLASSES, "svhn"), where)

    def _files(self, data_dir: Path | None) -> dict[str, Path]:
        """The two files.

        Raises:
            MissingError: the folder or one of them is not there.
        """
        from experiments.core.data._files import absent, locate

        folder = locate(self.path, data_dir)
        for name in FILES.values():
            if not (folder / name).is_file():
                raise absent(f"no {name}", f"looked in {folder}", folder.name, folder.parent, download="svhn")
        return {part: folder / name for part, name in FILES.items()}

    def _part(self, file: Path, part: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
        """Images [n, 3, 32, 32] in 0..1 and labels [n] of one file, as many as are kept."""
        import numpy as np

        from experiments.core.data._files import require_memory

        images, labels = read_mat(file)
        rows = self.kept_rows(labels, part)
        images, labels = images[..., rows], labels[rows]
        require_memory(len(labels), (3, 32, 32), str(file))
        pixels = np.divide(np.moveaxis(images, (3, 2), (0, 1)), np.float32(255), dtype=np.float32, order="C")
        return pixels, np.where(labels == CLASSES, 0, labels)


def read_mat(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of one file as they are stored: X [32, 32, 3, n] and y [n] in 1..10, bytes.

    Raises:
        MissingError: it cannot be read.
        SpecError: it is no such file, cut short or damaged, or its content does not fit in memory.
    """
    from scipy.io import loadmat, whosmat

    from experiments.core.data._files import require_room

    # First the names and shapes alone, which unpacks nothing.
    held = {name: (shape, kind) for name, shape, kind in _attempt(whosmat, file)}
    shape, kind = held.get("X", ((), ""))
    if shape[:3] != (32, 32, 3) or len(shape) != 4 or kind != "uint8" or held.get("y") != ((shape[3], 1), "uint8"):
        raise _damaged(file, f"it holds {held or 'nothing'}, not X [32, 32, 3, n] and y [n, 1] of bytes")
    require_room(32 * 32 * 3 * shape[3], file)
    content = _attempt(loadmat, file, variable_names=["X", "y"])
    x, y = content["X"], content["y"].reshape(-1)
    if (y > CLASSES).any():
        raise _damaged(file, f"label {y.max()}, and they go up to {CLASSES}")
    return x, y


def _attempt(reader: Callable[..., Any], file: Path, **options: Any) -> Any:
    """What one of scipy's readers returns.

    Raises:
        See `read_mat`.
    """
    from experiments.core.data._files import first_line

    try:
        with warnings.catch_warnings(action="error"):  # scipy reads past some damage with a warning
            return reader(file, **options)
    except OSError as error:
        if error.errno is None:  # how scipy reports a file cut short
            raise _damaged(file, first_line(error)) from error
        raise MissingError(f"cannot read the file ({error.strerror})", str(file), "check that it is there") from error
    except Exception as error:  # whatever scipy's readers raise on damage
        raise _damaged(file, first_line(error)) from error


def _damaged(file: Path, why: str) -> SpecError:
    return SpecError(f"not a sound file of SVHN ({why})", str(file), "`fedlab data --download svhn` gets it")
