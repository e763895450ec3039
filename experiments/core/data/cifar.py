"""CIFAR-10 and CIFAR-100 in the binary version of their authors."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.data._images import ScaledImages
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

FOLDERS = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}
ARCHIVES = {10: "cifar-10-binary.tar.gz", 100: "cifar-100-binary.tar.gz"}
TRAIN = {10: tuple(f"data_batch_{k}.bin" for k in range(1, 6)), 100: ("train.bin",)}
TEST = {10: "test_batch.bin", 100: "test.bin"}
PIXELS = 3 * 32 * 32


class Cifar(ScaledImages):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009): the archive as downloaded, or the `.bin` files out of it.

    Images are [3, 32, 32] in 0..1; CIFAR-100 has its 100 fine labels. The Python version is rejected: it is pickled,
    and unpickling can run arbitrary code. There are no natural clients: choose a partition.
    """

    kind: Literal["cifar"] = "cifar"
    classes: Literal[10, 100] = Field(10, description="which of the two")
    path: str = Field("cifar", description="archive or folder, from the working directory or else in the data folder")
    normalise: bool = Field(
        False, description="shift and scale each channel by mean and deviation of the training images"
    )

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (3, 32, 32), self.classes, float(self.keep_train or 50_000), 1

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the files; see `DataBlock.load`."""
        import numpy as np

        from experiments.core.data._files import locate
        from experiments.core.data.pool import make_pool

        root = locate(self.path, data_dir, download=f"cifar{self.classes}")
        content = self._content(self._source(root))
        batches = [self._records(content[name], root / name) for name in TRAIN[self.classes]]
        records, tests = np.concatenate(batches), self._records(content[TEST[self.classes]], root / TEST[self.classes])
        records = records[self.kept_rows(_labels(records), "train")]
        tests = tests[self.kept_rows(_labels(tests), "test")]
        train, test = ((_images(part), _labels(part)) for part in (records, tests))
        pool = make_pool(str(root), train, test, self.classes, f"cifar{self.classes}")
        return self.finished(pool, str(root))

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        from experiments.core.data._files import locate

        self._source(locate(self.path, data_dir, download=f"cifar{self.classes}"))

    def _source(self, root: Path) -> Path:
        """The archive, or the folder of the binary files, in or at `root`.

        Raises:
            MissingError: there is neither. SpecError: there is the version for Python.
        """
        from experiments.core.data._files import absent

        archive, last = root / ARCHIVES[self.classes], TEST[self.classes]
        if root.is_file():
            return root
        for folder in (root, root / FOLDERS[self.classes]):
            if (folder / last).is_file():
                return folder
        if archive.is_file():
            return archive
        if any(root.glob("cifar-*-py*")) or any((root / name).is_file() for name in ("data_batch_1", "train")):
            raise _pickled(root, archive.name)
        what, name = f"no {last} and no {archive.name}", f"cifar{self.classes}"
        raise absent(what, f"looked in {root}", root.name, root.parent, download=name)

    def _content(self, source: Path) -> dict[str, bytes]:
        """The content of each binary file, by name."""
        from experiments.core.data._unpack import read_bytes

        wanted = (*TRAIN[self.classes], TEST[self.classes])
        if source.is_dir():
            return {name: read_bytes(source / name) for name in wanted}
        return _unpacked(source, wanted)

    def _records(self, raw: bytes, file: Path) -> np.ndarray:
        """Rows of label bytes and pixels: [n, 1 or 2 + 3072] uint8."""
        import numpy as np

        length = PIXELS + (2 if self.classes == 100 else 1)
        if not raw or len(raw) % length:
            what = f"{len(raw)} bytes are not whole records of {length} bytes"
            raise SpecError(what, str(file), f"fetch CIFAR-{self.classes} again, or correct data.classes")
        return np.frombuffer(raw, np.uint8).reshape(-1, length)


def _labels(records: np.ndarray) -> np.ndarray:
    """[n]: the last byte before the pixels; CIFAR-100 has a coarse label before it."""
    return records[:, -PIXELS - 1]


def _images(records: np.ndarray) -> np.ndarray:
    """[n, 3, 32, 32] in 0..1."""
    return records[:, -PIXELS:].reshape(-1, 3, 32, 32).astype("float32") / 255


def _unpacked(archive: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted files of a tar archive, compressed or not, in any folder; nothing is written to disk."""
    from experiments.core.data._files import first_line
    from experiments.core.data._unpack import read_stream

    contents, names = {}, []
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = member.name.rpartition("/")[2]
                names.append(name)
                if name in wanted and member.isfile() and (stream := opened.extractfile(member)) is not None:
                    contents[name] = read_stream(stream, archive)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise SpecError(f"not a valid tar archive ({first_line(error)})", str(archive), "fetch it again") from error
    missing = [name for name in wanted if name not in contents]
    if "data_batch_1" in names or "train" in names:
        raise _pickled(archive, ARCHIVES[10 if "data_batch_1" in names else 100])
    if missing:
        raise SpecError(
            f"no {', '.join(missing)} in the archive", str(archive), "correct data.classes, or fetch it again"
        )
    return contents


def _pickled(path: Path, archive: str) -> SpecError:
    """The error that rejects the Python version."""
    return SpecError(
        "this is CIFAR's version for Python, whose files are pickled",
        str(path),
        f"fetch the binary version, {archive}: reading it runs no code",
    )
