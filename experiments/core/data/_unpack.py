"""Reading files that may be compressed, whole or line by line; damage and decompression bombs give one-line errors."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from experiments.core import memory
from experiments.core.data import _files
from experiments.core.data._files import first_line
from experiments.core.errors import MissingError, SpecError

_OPEN: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed according to its suffix.

    Raises:
        See `unpacked`.
    """
    with unpacked(path) as stream:
        return read_stream(stream, path)


def read_stream(stream: Any, path: Path) -> bytes:
    """All of a stream out of the file `path`.

    Raises:
        SpecError: the content does not fit in memory.
    """
    return io.BufferedReader(_Bounded(stream, path)).read()


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """A file to read from, unpacked where its name ends in .gz, .bz2, .xz or .zip (a zip of one file).

    Raises:
        MissingError: it is not there or cannot be read.
        SpecError: it is damaged or cut short, or does not fit in memory once unpacked.
    """
    try:
        with ExitStack() as stack:
            yield _stream(path, stack)
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, NotImplementedError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # how gzip and bz2 report damage
            raise _damaged(path, error) from error
        raise MissingError(f"cannot read the file ({error.strerror})", str(path), "check that it is there") from error


def _stream(path: Path, stack: ExitStack) -> BinaryIO:
    """The content of a file as a stream, decompressed on the fly."""
    if path.suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
        if len(members) != 1 or members[0].flag_bits & 1:
            what = "a zip locked by a password" if len(members) == 1 else f"a zip of {len(members)} files"
            raise SpecError(what, str(path), "unpack it, and name the file")
        return _bounded(stack.enter_context(archive.open(members[0])), path)
    if path.suffix in _OPEN:
        return _bounded(stack.enter_context(_OPEN[path.suffix](path, "rb")), path)
    return stack.enter_context(path.open("rb"))


def _bounded(stream: Any, path: Path) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Bounded(stream, path)))


def _damaged(path: Path, error: Exception) -> SpecError:
    kind = {".gz": "gzip "}.get(path.suffix, path.suffix[1:] + " " * bool(path.suffix))
    return SpecError(f"damaged {kind}file ({first_line(error)})", str(path), "fetch or pack the file again")


class _Bounded(io.RawIOBase):
    """A stream from the file `path` that stops before it fills the memory (decompression bombs)."""

    def __init__(self, inner: IO[bytes], path: Path) -> None:
        self._inner, self._path, self._free, self._read = inner, path, memory.available_bytes(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._inner.read(len(buffer))
        self._read += len(chunk)
        _files.require_room(self._read, self._path, self._free)
        buffer[: len(chunk)] = chunk
        return len(chunk)


def lines_of(path: Path, encoding: str) -> Generator[str]:
    """The lines of a text file with their line ends, without a byte order mark.

    Raises:
        See `unpacked`; SpecError also where the file is not in this encoding, or holds the character 0.
    """
    # utf-8-sig drops the byte order mark that Excel writes.
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    number = 0
    with unpacked(path) as stream, io.TextIOWrapper(stream, codec, newline="") as text:
        try:
            for number, line in enumerate(text, 1):
                if "\0" in line:
                    raise SpecError(f"line {number} holds the character 0", str(path), "save the file as text in UTF-8")
                yield line
        except UnicodeError as error:
            raise _other_encoding(path, encoding, error) from error


def _other_encoding(path: Path, encoding: str, error: UnicodeError) -> SpecError:
    """The error for a file in another encoding than stated, with the first bad line."""
    with unpacked(path) as stream:
        raw = stream.read(1 << 20)
    marked = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    first_bad_line = ""
    for number, line in enumerate([] if marked else raw.splitlines(), 1):
        try:
            line.decode(encoding)
        except UnicodeError:
            first_bad_line = f" (line {number}: {line[:30]!r})"
            break
    todo = "set data.encoding: utf-16" if marked else "set data.encoding (latin-1 or cp1252?), or save it as UTF-8"
    return SpecError(f"the file is not in {encoding}{first_bad_line}", str(path), todo)
