"""Finding a user's files, and whether what they hold fits in memory; errors say what, where and what to do."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from experiments.core.errors import MissingError, SpecError
from experiments.paths import expanded


def locate(path: str, data_dir: Path | None, key: str = "data.path") -> Path:
    """The file or folder a spec names by `key`: as given (from the working directory), else inside the data folder.

    Raises:
        MissingError: it is in neither place. SpecError: its `~user` has no home folder.
    """
    given = expanded(path)
    tried = [given] if given.is_absolute() or data_dir is None else [given, data_dir / given]
    for place in tried:
        if os.path.exists(place):  # noqa: PTH110  (Path's own raises on a name that is too long)
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


def first_line(error: Exception) -> str:
    """What is wrong, without the lines that some libraries add."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":") or type(error).__name__


_SHARE = 4
"""A file may take this part of the free memory: what is made of its content takes several times as much."""


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
