"""Images of one's own in folders named by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from experiments.core.data._split import KeptData
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

Labelled = tuple[Path, int]
"""A file and the number of its class."""


class ImageFolder(KeptData):
    """`<path>/train/<class>/*.png` and `test/` (or `val/`) beside `train/`, or `<path>/<class>/*.png` to be split here.

    Classes are numbered in the order of their names. Pixels become 0..1 and may be normalised. Only kept images are
    read, and all of them are held in memory. Without natural clients: choose a partition.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's")
    height: int = Field(28, ge=1, description="pixels; images of another size are resized (bilinear)")
    width: int = Field(28, ge=1, description="pixels")
    colour: Literal["grey", "rgb"] = Field("grey", description="1 channel or 3")
    normalise: Literal["none", "imagenet"] = Field("none", description="imagenet: by ImageNet's mean and deviation")
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where there are no train/ and test/")
    split_seed: int = Field(0, ge=0, description="seed of that split")

    @model_validator(mode="after")
    def _agree(self) -> ImageFolder:
        if self.normalise == "imagenet" and self.colour == "grey":
            raise ValueError("normalise: ImageNet's mean and deviation are those of colours; use colour: rgb")
        return self

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the images; see `DataBlock.load`."""
        from experiments.core.data._files import locate, require_memory
        from experiments.core.data._scale import IMAGENET, scaled
        from experiments.core.data.pool import make_pool

        folder = locate(self.path, data_dir)
        names, train, test = self._files(folder)
        shape = (1 if self.colour == "grey" else 3, self.height, self.width)
        require_memory(len(train) + len(test), shape, str(folder))
        parts = [self._read(files, shape) for files in (train, test)]
        pool = make_pool(str(folder), parts[0], parts[1], len(names), self.name or folder.resolve().name)
        return scaled(pool, *IMAGENET) if self.normalise == "imagenet" else pool

    def _files(self, folder: Path) -> tuple[list[str], list[Labelled], list[Labelled]]:
        """The classes' names, and the files that are kept of the training and of the test part."""
        from experiments.core.data._split import split_rows
        from experiments.core.engine.seeds import stream

        second = next((folder / part for part in ("test", "val") if (folder / part).is_dir()), None)
        roots = [folder / "train", second] if second and (folder / "train").is_dir() else [folder]
        names = sorted({entry.name for root in roots for entry in root.iterdir() if entry.is_dir()})
        if len(names) < 2:
            raise SpecError(f"{len(names)} class folders", str(roots[0]), "give one folder of images for each class")
        found = [_labelled(root, names) for root in roots]
        if len(found) == 1:
            rows = split_rows(len(found[0]), self.train_fraction, stream(self.split_seed, "split", part="images"))
            found = [[found[0][row] for row in part] for part in rows]
        train, test = found
        return names, _rows(train, self.kept(len(train), "train")), _rows(test, self.kept(len(test), "test"))

    def _read(self, files: list[Labelled], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Read files: x [n, C, H, W], y [n]."""
        import numpy as np

        x = np.empty((len(files), *shape), np.float32)
        for row, (file, _) in enumerate(files):
            x[row] = self._image(file)
        return x, np.array([label for _, label in files], np.int64)

    def _image(self, file: Path) -> np.ndarray:
        """One image as [C, H, W] in 0..1."""
        import numpy as np
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if self.colour == "grey" else "RGB")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise SpecError(f"not a readable image ({error})", str(file), "mend or remove the file") from error
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32) / 255
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _labelled(root: Path, names: list[str]) -> list[Labelled]:
    """All images below `root`, class by class."""
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((root / name).glob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise SpecError("no images in the class folders", str(root), f"put images there ({', '.join(SUFFIXES)})")
    return files


def _rows(files: list[Labelled], rows: np.ndarray | slice) -> list[Labelled]:
    """The files of some rows."""
    return files[rows] if isinstance(rows, slice) else [files[row] for row in rows]
