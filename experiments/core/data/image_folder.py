"""A user's images in folders named by class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from experiments.core.data._labelled_files import Labelled
from experiments.core.data._own_test import TestFile
from experiments.core.data._split import KeptData
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""Accepted folder names of the two parts, in any case; the first that exists is used."""


class ImageFolder(KeptData, TestFile):
    """`<path>/train/<class>/*.png` and `test/` (or `val/`) beside `train/`, or `<path>/<class>/*.png` to be split here.

    Classes are numbered in natural order of their names; images in subfolders belong to that class. Names
    that begin with a dot and `__MACOSX` are skipped. Pixels become 0..1 (16-bit images are divided by 65535), turned by
    their EXIF orientation, what is transparent on white; they may be normalised. Of a file with several pictures the
    first counts. Only kept images are read, and all of them are held in memory. Without natural clients: choose a
    partition. `test` names a folder of class folders.

    With `label_pattern` the class is read off each image's path below train/ or test/ instead, as for the chest X-rays
    of Kermany et al. (2018), PNEUMONIA/person1_bacteria_2.jpeg: `label_pattern: NORMAL|bacteria|virus`.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's")
    height: int = Field(28, ge=1, description="pixels; images of another size are resized (bilinear)")
    width: int = Field(28, ge=1, description="pixels")
    label_pattern: str | None = Field(
        None, description="regular expression that finds the class (its group, if it has one) in an image's path"
    )
    colour: Literal["grey", "rgb"] = Field("grey", description="1 channel or 3")
    normalise: Literal["none", "imagenet"] = Field("none", description="imagenet: by ImageNet's mean and deviation")
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where there are no train/ and test/")
    split_seed: int = Field(0, ge=0, description="seed of that split")

    @model_validator(mode="after")
    def _agree(self) -> ImageFolder:
        if self.normalise == "imagenet" and self.colour == "grey":
            raise ValueError("normalise: ImageNet's mean and deviation are those of colours; use colour: rgb")
        return self

    @model_validator(mode="after")
    def _compiles(self) -> ImageFolder:
        try:
            groups = re.compile(self.label_pattern or "").groups
        except re.error as error:
            raise ValueError(f"label_pattern: no regular expression ({error})") from error
        if groups > 1:
            raise ValueError(f"label_pattern: {groups} groups; use one for the class, and (?:...) for the others")
        return self

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the images; see `DataBlock.load`."""
        from experiments.core.data._files import locate, require_memory
        from experiments.core.data._scale import IMAGENET, scaled
        from experiments.core.data.pool import make_pool

        folder = locate(self.path, data_dir)
        names, train, test, test_from = self._files(folder, data_dir)
        shape = (1 if self.colour == "grey" else 3, self.height, self.width)
        require_memory(len(train) + len(test), shape, str(folder))
        parts = [self._read(files, shape) for files in (train, test)]
        pool = make_pool(
            str(folder), parts[0], parts[1], len(names), self.name or folder.resolve().name, test_from=test_from
        )
        return scaled(pool, *IMAGENET) if self.normalise == "imagenet" else pool

    def _files(self, folder: Path, data_dir: Path | None) -> tuple[list[str], list[Labelled], list[Labelled], str]:
        """The class names, the files kept for both parts, and how the test set was made."""
        from experiments.core.data._files import test_file
        from experiments.core.data._labelled_files import labelled, part_of

        if self.test is not None:
            second = test_file(self.test, data_dir, folder)
            roots, test_from = [part_of(folder, TRAIN) or folder, second], f"the folder {second.name}/"
        else:
            first, second_part = part_of(folder, TRAIN), part_of(folder, TEST)
            if (first is None) != (second_part is None):
                single, missing = (first or second_part or folder).name, "test/ or val/" if first else "train/"
                what = f"{single}/ without {missing} beside it"
                raise SpecError(what, str(folder), "add the other part, or name its folder as data.test")
            roots = [folder] if first is None or second_part is None else [first, second_part]
            test_from = f"the folder {roots[-1].name}/"
        names, files = labelled(roots, self.label_pattern)
        if len(files) == 1:
            files, test_from = self._split(files[0])
        _require_trained(names, files, roots)
        train, test = files
        rows = self.kept_rows(_labels(train), "train"), self.kept_rows(_labels(test), "test")
        return names, _rows(train, rows[0]), _rows(test, rows[1]), test_from

    def _split(self, files: list[Labelled]) -> tuple[list[list[Labelled]], str]:
        """Both parts of images that are not split yet, and how they were split."""
        from experiments.core.data._split import drawn, split_rows
        from experiments.core.engine.seeds import stream

        rows = split_rows(len(files), self.train_fraction, stream(self.split_seed, "split", part="images"))
        test_from = drawn(self.train_fraction, "the images", self.split_seed)
        return [[files[row] for row in part] for part in rows], test_from

    def _read(self, files: list[Labelled], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Read files: x [n, C, H, W], y [n]."""
        import numpy as np

        from experiments.core.data._pictures import read_image

        x = np.empty((len(files), *shape), np.float32)
        for row, (file, _) in enumerate(files):
            x[row] = read_image(file, str(file), self.colour, (self.height, self.width))
        return x, _labels(files)


def _labels(files: list[Labelled]) -> np.ndarray:
    """The labels [n] of files."""
    import numpy as np

    return np.array([label for _, label in files], np.int64)


def _require_trained(names: list[str], parts: list[list[Labelled]], roots: list[Path]) -> None:
    """Raise SpecError where the test set has a class that no training image shows."""
    missing = {label for _, label in parts[1]} - {label for _, label in parts[0]}
    if missing and len(roots) > 1:
        name = names[min(missing)]
        raise SpecError(f"class {name!r} has test images but none to train on", str(roots[0]), "add some, or remove it")


def _rows(files: list[Labelled], rows: np.ndarray | slice) -> list[Labelled]:
    """The files of some rows."""
    return files[rows] if isinstance(rows, slice) else [files[row] for row in rows]
