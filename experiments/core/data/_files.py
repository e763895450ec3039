"""Finding and opening a user's files, with errors that say what, where and what to do."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

from experiments.core.errors import MissingError, SpecError

PACKED = (".gz", ".bz2", ".xz", ".zip")


def locate(path: str, data_dir: Path | None, key: str = "data.path") -> Path:
    """The file or folder a spec names by `key`: as given (from the working directory), else inside the data folder.

    Raises:
        MissingError: it is in neither place.
    """
    given = Path(path).expanduser()
    tried = [given] if given.is_absolute() or data_dir is None else [given, data_dir / given]
    for place in tried:
        if place.exists():
            return place
    raise MissingError(
        f"{'no data' if key == 'data.path' else 'nothing'} at {path}",
        "looked for " + " and ".join(str(place) for place in tried),
        f"correct {key}, or name the data folder with --data-dir or FEDLAB_DATA_DIR",
    )


def test_file(path: str, data_dir: Path | None, trained: Path) -> Path:
    """The file or folder that `data.test` names.

    Raises:
        MissingError: it is not there. SpecError: it is `trained`, where the training samples are.
    """
    place = locate(path, data_dir, "data.test")
    if place.samefile(trained):
        raise SpecError("the test set is the training set", f"data.test: {path}", "name another file")
    return place


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked when its name says that it is packed (see `unpacked`).

    Raises:
        See `unpacked`.
    """
    with unpacked(path) as stream:
        return stream.read()


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """A file to read from, unpacked where its name ends in .gz, .bz2, .xz or .zip (a zip of one file).

    Raises:
        MissingError: it is not there or cannot be read.
        SpecError: it is damaged or cut short, or unpacks to more than memory holds.
    """
    try:
        with ExitStack() as stack:
            raw = _stream(path, stack)
            yield io.BufferedReader(Bounded(raw, path)) if path.suffix in PACKED else raw
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, NotImplementedError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 say of damage
            raise _damaged(path, error) from error
        raise MissingError(f"cannot read the file ({error.strerror})", str(path), "check that it is there") from error


def _stream(path: Path, stack: ExitStack) -> BinaryIO:
    """The content of a file as it is unpacked."""
    if path.suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
        if len(members) != 1 or members[0].flag_bits & 1:
            what = "locked by a password" if len(members) == 1 else f"a zip of {len(members)} files"
            raise SpecError(what, str(path), "unpack it, and name the file")
        return cast(BinaryIO, stack.enter_context(archive.open(members[0])))
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast(BinaryIO, stack.enter_context(openers.get(path.suffix, open)(path, "rb")))


def _damaged(path: Path, error: Exception) -> SpecError:
    return SpecError(
        f"damaged {path.suffix[1:] or 'file'} file ({first_line(error)})".replace("gz file", "gzip file"),
        str(path), "fetch or pack the file again",
    )  # fmt: skip


def first_line(error: Exception) -> str:
    """What is wrong, without the lines that some libraries add."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":") or type(error).__name__


class Bounded(io.RawIOBase):
    """A stream that stops before what it unpacks to fills the memory.

    `read` and the like raise SpecError once more than a quarter of the available memory has come out.
    """

    def __init__(self, inner: BinaryIO, path: Path) -> None:
        self._inner, self._path, self._left = inner, path, _available_bytes() // 4

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        held = self._inner.read(len(buffer))
        self._left -= len(held)
        if self._left < 0:
            todo = "unpack it first, or free some memory"
            raise SpecError("the file unpacks to more than a quarter of the available memory", str(self._path), todo)
        buffer[: len(held)] = held
        return len(held)


def lines_of(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file, their ends kept, without a byte order mark.

    Raises:
        See `unpacked`; SpecError also where the file is not in this encoding, or holds the character 0.
    """
    # utf-8-sig drops the mark that Excel puts in front.
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    number = 0
    with unpacked(path) as stream:
        try:
            for number, line in enumerate(io.TextIOWrapper(stream, codec, newline=""), 1):
                if "\0" in line:
                    raise SpecError(f"line {number} holds the character 0", str(path), "save the file as text in UTF-8")
                yield line
        except UnicodeError as error:
            raise _other_encoding(path, encoding, error) from error


def _other_encoding(path: Path, encoding: str, error: UnicodeError) -> SpecError:
    """Where a file is not in the encoding it is said to be in, and what to try."""
    with unpacked(path) as stream:
        raw = stream.read(1 << 20)
    marked = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    place = ""
    for number, line in enumerate([] if marked else raw.splitlines(), 1):
        try:
            line.decode(encoding)
        except UnicodeError:
            place = f" (line {number}: {line[:30]!r})"
            break
    todo = "set data.encoding: utf-16" if marked else "set data.encoding (latin-1 or cp1252?), or save it as UTF-8"
    return SpecError(f"the file is not in {encoding}{place}", str(path), todo)


def require_room(size: int, where: str) -> None:
    """Say so before unpacking what will not fit in memory.

    Raises:
        SpecError: `size` bytes and one copy of them will not.
    """
    free = _available_bytes()
    if 2 * size > free:
        what = f"the file unpacks to {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are available"
        raise SpecError(what, where, "write a smaller file, or free some memory")


def require_memory(samples: int, shape: tuple[int, ...], where: str) -> None:
    """Say so before reading when `samples` float32 inputs of `shape` and one copy of them will not fit in memory.

    Raises:
        SpecError: they will not.
    """
    # Twice, because dealing the samples to clients and moving them to a device or a dtype copies them.
    need, free = 2 * 4 * samples * prod(shape), _available_bytes()
    if need > free:
        raise SpecError(
            f"{samples} inputs of shape {shape} need {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are available",
            where,
            "keep fewer with data.keep_train and data.keep_test, or make the images smaller",
        )


def _available_bytes() -> int:
    """Memory that can be had without swapping, on Linux; elsewhere all memory of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
