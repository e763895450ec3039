"""Images of one's own in an npz file with MedMNIST's keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.data._images import ShapedImages
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np


class ImageNpz(ShapedImages):
    """An npz with train_images, train_labels, test_images, test_labels (MedMNIST's layout; nothing is unpickled).

    Images [N, H, W] or [N, H, W, C]: uint8 is divided by 255, floats are taken as they are. Labels [N] or [N, 1]. An
    optional key train_clients [N] names the client of each training image; without it a partition deals the images.
    """

    kind: Literal["image_npz"] = "image_npz"
    path: str = Field(description="file, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the file's")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: the largest label plus one")
    normalise: bool = Field(
        False, description="shift and scale each channel by mean and deviation of the training images"
    )

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the file; see `DataBlock.load`."""
        from experiments.core.data._clients import by_name
        from experiments.core.data._files import locate
        from experiments.core.data.pool import make_pool

        file = locate(self.path, data_dir)
        held = _read(file)
        x, y, rows = self._part(held, "train", file)
        test_x, test_y, test_rows = self._part(held, "test", file)
        classes = self.outputs or int(max(y.max(initial=0), test_y.max(initial=0), 1)) + 1
        names: tuple[str, ...] = ()
        owner = None
        if "train_clients" in held:
            names, owner = by_name(held["train_clients"].reshape(-1)[rows])
        parts = ((x, y[rows]), (test_x, test_y[test_rows]))
        pool = make_pool(str(file), *parts, classes, self.name or file.stem, owner, names)
        return self.finished(pool, str(file))

    def _part(
        self, held: dict[str, np.ndarray], part: Literal["train", "test"], file: Path
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | slice]:
        """Kept images, all labels (they tell the classes), and the rows that are kept."""
        images, labels = _checked(held[f"{part}_images"], file), _labels(held[f"{part}_labels"], file)
        if len(images) != len(labels):
            raise SpecError(
                f"{len(images)} {part} images but {len(labels)} labels", str(file), "give one label an image"
            )
        rows = self.kept(len(labels), part)
        return self.shaped(_images(images[rows]), str(file)), labels, rows


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file."""
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as opened:
            held: dict[str, Any] = {key: opened[key] for key in opened.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise SpecError(f"not a sound npz file ({error})", str(file), "write it again with numpy.savez") from error
    missing = [f"{p}_{k}" for p in ("train", "test") for k in ("images", "labels") if f"{p}_{k}" not in held]
    if missing:
        raise SpecError(f"no {', '.join(missing)} in the file", str(file), f"it holds {', '.join(held) or 'nothing'}")
    return held


def _checked(images: np.ndarray, file: Path) -> np.ndarray:
    """The images as they are, once they look like images."""
    if images.ndim not in (3, 4) or images.dtype.kind not in "uif":
        raise SpecError(
            f"images of shape {images.shape}, {images.dtype}", str(file), "give numbers [N, H, W] or [N, H, W, C]"
        )
    return images


def _images(images: np.ndarray) -> np.ndarray:
    """Images as [N, C, H, W] float32."""
    import numpy as np

    x = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    return x.astype(np.float32) / 255 if images.dtype == np.uint8 else x.astype(np.float32)


def _labels(labels: np.ndarray, file: Path) -> np.ndarray:
    """Labels as [N]."""
    if labels.ndim == 2 and labels.shape[1] != 1:
        raise SpecError(f"{labels.shape[1]} labels an image", str(file), "give one label an image")
    return labels.reshape(-1)
