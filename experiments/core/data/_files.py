"""Finding and opening a user's files, with errors that say what, where and what to do."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from math import prod
from pathlib import Path
from typing import IO

from experiments.core.errors import MissingError, SpecError


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


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked when its name ends in .gz.

    Raises:
        MissingError: it is not there or cannot be read.
        SpecError: the gzip stream is cut short or damaged, or the content is more than this machine can hold.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return read_stream(stream, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SpecError(f"damaged gzip file ({error})", str(path), "fetch or pack the file again") from error
    except OSError as error:
        raise MissingError(f"cannot read the file ({error.strerror})", str(path), "check that it is there") from error


_BLOCK = 1 << 20
_SHARE = 4
"""A file may take this part of the free memory: what is made of its content takes several times as much."""


def read_stream(stream: IO[bytes] | gzip.GzipFile, path: Path) -> bytes:
    """All of a stream out of the file `path`, which may be packed so that a small file holds more than there is memory.

    Raises:
        SpecError: its content is more than this machine can hold.
    """
    content, most = io.BytesIO(), _available_bytes()
    while part := stream.read(_BLOCK):
        content.write(part)
        require_room(content.tell(), path, most)
    return content.getvalue()


def require_room(size: int, path: Path, free: int | None = None) -> None:
    """Say so when the `size` bytes that the file `path` holds, once unpacked, are too many for the `free` memory.

    Raises:
        SpecError: they are.
    """
    most = (_available_bytes() if free is None else free) / _SHARE
    if size > most:
        raise SpecError(
            f"the content is more than {most / 2**30:.2g} GiB, a quarter of the memory that is free",
            str(path),
            "split the data into smaller files, or look at where this one comes from",
        )


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
