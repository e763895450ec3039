"""A user's images in an npz file with MedMNIST's keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.data._images import ShapedImages
from experiments.core.data._own_test import TestRows
from experiments.core.data.pool import Pool
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np


class ImageNpz(ShapedImages, TestRows):
    """An npz with train_images, train_labels, test_images, test_labels (MedMNIST's layout; nothing is unpickled).

    Images [N, H, W] or [N, H, W, C]: uint8 is divided by 255, uint16 by 65535, floats are taken as they are. Labels [N]
    or [N, 1], numbers or names. An optional key train_clients [N] names the client of each training image; without it a
    partition deals the images. With `split` (an array [N] beside train_images) or `test_clients` the test set is a part
    of train_images, with `test` it is test_images of another npz; test_images of the file itself are not used then.
    """

    kind: Literal["image_npz"] = "image_npz"
    path: str = Field(description="file, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the file's")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: one for each class")
    normalise: bool = Field(
        False, description="shift and scale each channel by mean and deviation of the training images"
    )

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the file; see `DataBlock.load`."""
        from experiments.core.data._clients import by_name
        from experiments.core.data._files import locate
        from experiments.core.data._labels import numbered_labels
        from experiments.core.data.pool import make_pool

        file = locate(self.path, data_dir)
        arrays = _read(file)
        train, test, test_from, shared = self._parts(arrays, file, data_dir)
        labels = numbered_labels(str(file), (train.labels, test.labels), self.outputs)
        rows, test_rows = self.kept_rows(labels.parts[0], "train"), self.kept_rows(labels.parts[1], "test")
        x, test_x = (self.shaped(_images(p.images[r], p.where), p.where) for p, r in ((train, rows), (test, test_rows)))
        names: tuple[str, ...] = ()
        owner = None
        if train.clients is not None:
            names, owner = by_name(train.clients[rows])
        parts = ((x, labels.parts[0][rows]), (test_x, labels.parts[1][test_rows]))
        pool = make_pool(
            str(file), *parts, labels.classes, self.name or file.stem, owner, names,
            test_from=test_from, own_tests=shared,
        )  # fmt: skip
        return self.finished(pool, str(file))

    def _parts(
        self, arrays: dict[str, np.ndarray], file: Path, data_dir: Path | None
    ) -> tuple[_Part, _Part, str, bool]:
        """Both parts, how the test set was made, and whether it shares clients with the training part."""
        import numpy as np

        from experiments.core.data._clients import by_name
        from experiments.core.data._files import test_file
        from experiments.core.data._own_test import marked, of_clients, sentence_of_clients
        from experiments.core.data.pool import FILES

        train, where = _part(arrays, "train", file), str(file)
        if self.test is not None:
            other = test_file(self.test, data_dir, file)
            return train, _part(_read(other), "test", other), f"test_images of the file {other.name}", False
        if self.test_clients is not None:
            if train.clients is None:
                raise SpecError("no train_clients in the file", where, "add them, or leave data.test_clients out")
            names, owner = by_name(train.clients)
            tests = of_clients(where, owner, names, self.test_clients)
            test_from = sentence_of_clients(self.test_clients)
        elif self.split is not None:
            words = _texts(_of(arrays, self.split, file), len(train.labels), self.split, where)
            tests = marked(where, self.split, words, lambda row: f"image {row}")
            test_from = f"the images that say test in {self.split!r}"
        else:
            return train, _part(arrays, "test", file), FILES, False
        shared = train.clients is not None and bool(np.isin(train.clients[tests], train.clients[~tests]).any())
        return train.rows(~tests), train.rows(tests), test_from, shared


@dataclass(frozen=True)
class _Part:
    """Images [N, ...] as stored, labels [N], the client of each image [N] str or None, and the file."""

    images: np.ndarray
    labels: np.ndarray
    clients: np.ndarray | None
    where: str

    def rows(self, rows: np.ndarray) -> _Part:
        """The part restricted to `rows` (indices or a mask)."""
        clients = None if self.clients is None else self.clients[rows]
        return _Part(self.images[rows], self.labels[rows], clients, self.where)


def _part(arrays: dict[str, np.ndarray], part: str, file: Path) -> _Part:
    """One part of an npz.

    Raises:
        SpecError: an array is missing or does not fit the others.
    """
    images = _checked(_of(arrays, f"{part}_images", file), file)
    labels = _labels(_of(arrays, f"{part}_labels", file), file)
    if len(images) != len(labels):
        raise SpecError(f"{len(images)} {part} images but {len(labels)} labels", str(file), "give one label per image")
    clients = arrays.get(f"{part}_clients")
    named = None if clients is None else _texts(clients, len(images), f"{part}_clients", str(file))
    return _Part(images, labels, named, str(file))


def _of(arrays: dict[str, np.ndarray], key: str, file: Path) -> np.ndarray:
    """An array of the file."""
    if key not in arrays:
        raise SpecError(f"no {key} in the file", str(file), f"it holds {', '.join(arrays) or 'nothing'}")
    return arrays[key]


def _texts(values: np.ndarray, count: int, key: str, where: str) -> np.ndarray:
    """Names [count] as texts."""
    import numpy as np

    flat = values.reshape(-1)
    if len(flat) != count or flat.dtype.kind not in "iuUST":
        what = f"{key} is {flat.dtype} of shape {values.shape}"
        raise SpecError(what, where, f"give {count} names or whole numbers, one for each image")
    try:
        return np.char.decode(flat, "utf-8") if flat.dtype.kind == "S" else flat.astype(str)
    except UnicodeDecodeError as error:
        raise SpecError(f"{key} holds bytes that are not UTF-8", where, "give names as texts") from error


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file.

    Raises:
        MissingError: it cannot be read. SpecError: it is damaged, or unpacks to more than memory holds.
    """
    import zipfile

    import numpy as np

    from experiments.core.data._files import first_line, require_room

    try:
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            require_room(sum(member.file_size for member in archive.infolist()), file)
        with np.load(file, allow_pickle=False) as opened:
            arrays: dict[str, Any] = {key: opened[key] for key in opened.files}
    except SpecError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise MissingError(
                f"cannot read the file ({error.strerror})", str(file), "check that it is there"
            ) from error
        raise _unsound(file, first_line(error)) from error
    except Exception as error:  # a damaged header or archive can raise many kinds of errors
        raise _unsound(file, first_line(error)) from error
    foreign = [key for key, value in arrays.items() if not isinstance(value, np.ndarray)]
    if foreign:
        raise _unsound(file, f"{foreign[0]} is no array")
    return arrays


def _unsound(file: Path, reason: str) -> SpecError:
    return SpecError(f"not a valid npz file ({reason})", str(file), "write it again with numpy.savez")


def _checked(images: np.ndarray, file: Path) -> np.ndarray:
    """The images, after a check of their shape and type."""
    if images.ndim not in (3, 4) or images.dtype.kind not in "uif":
        raise SpecError(
            f"images of shape {images.shape}, {images.dtype}", str(file), "give numbers [N, H, W] or [N, H, W, C]"
        )
    return images


def _images(images: np.ndarray, where: str) -> np.ndarray:
    """Images as [N, C, H, W] float32."""
    import numpy as np

    from experiments.core.data._images import unit_range

    return unit_range(images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1), where)


def _labels(labels: np.ndarray, file: Path) -> np.ndarray:
    """Labels as [N]."""
    if labels.ndim == 2 and labels.shape[1] != 1:
        raise SpecError(f"{labels.shape[1]} labels per image", str(file), "give one label per image")
    return labels.reshape(-1)
