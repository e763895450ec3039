"""Locating a user's files and checking that their content fits in memory; errors say what, where and what to do."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from experiments.core import memory
from experiments.core.errors import MissingDataError, SpecError
from experiments.paths import expanded

STAND_IN = "`--data digits` runs at once on a stand-in; "
"""Prefix of the advice when images by writer are missing."""


def locate(path: str, data_dir: Path | None, key: str = "data.path", download: str = "") -> Path:
    """The file or folder a spec names by `key`: as given (from the working directory), else inside the data folder.

    `download` names the known data set it belongs to, where `path` alone does not determine it.

    Raises:
        MissingDataError: it is in neither place. SpecError: its `~user` has no home folder.
    """
    requested = expanded(path)
    tried = [requested] if requested.is_absolute() or data_dir is None else [requested, data_dir / requested]
    for candidate in tried:
        if os.path.exists(candidate):  # noqa: PTH110  (Path's own raises on a name that is too long)
            return candidate
    what, where = "no data" if key == "data.path" else "nothing", " and ".join(str(candidate) for candidate in tried)
    raise absent(f"{what} at {path}", f"looked for {where}", path, data_dir, f"correct {key}; ", download)


def absent(
    what: str, where: str, path: str, data_dir: Path | None, first: str = "", download: str = ""
) -> MissingDataError:
    """The error for a missing `path` of a data folder, with the download command or a note that there is none.

    Args:
        what, where: what is missing, and where it was searched for.
        path: its path relative to the data folder.
        data_dir: the data folder.
        first: another remedy, put before the download command.
        download: the known data set it belongs to, where `path` alone does not determine it.
    """
    from experiments.core.data.fetch import suppliers

    names = (download,) if download else suppliers(path)
    return MissingDataError(what, where, first + how_to_get(names, data_dir), names)


def how_to_get(names: tuple[str, ...], data_dir: Path | None) -> str:
    """The command that fetches known data sets, or that none is known.

    The command includes --data-dir unless FEDLAB_DATA_DIR already names the folder.
    """
    if not names:
        return "no download of it is known: name what you have with --data-dir or FEDLAB_DATA_DIR"
    named = os.environ.get("FEDLAB_DATA_DIR")
    default = expanded(named) if named else None
    folder = "" if default and data_dir in (None, default) else f" --data-dir {data_dir or 'DIR'}"
    wanted = "".join(f" --download {name}" for name in names)
    return f"`fedlab data{wanted}{folder}` gets {'it' if len(names) == 1 else 'them'}"


def test_file(path: str, data_dir: Path | None, trained: Path) -> Path:
    """The file or folder that `data.test` names.

    Raises:
        MissingError: it is not there. SpecError: it is `trained`, the location of the training samples.
    """
    location = locate(path, data_dir, "data.test")
    if location.samefile(trained):
        raise SpecError("the test set is the training set", f"data.test: {path}", "name another file")
    return location


def first_line(error: Exception) -> str:
    """The first line of an error's message; some libraries add more."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":") or type(error).__name__


_SHARE = 4
"""A file may take 1/_SHARE of the free memory, because its parsed content takes several times its size."""


def require_room(size: int, path: Path, free: int | None = None) -> None:
    """Check that the `size` unpacked bytes of the file `path` fit in the `free` memory.

    Raises:
        SpecError: they do not.
    """
    most = (memory.available_bytes() if free is None else free) / _SHARE
    if size > most:
        raise SpecError(
            f"the content is more than {most / 2**30:.2g} GiB, a quarter of the memory that is free",
            str(path),
            "split the data into smaller files, or look at where this one comes from",
        )


def require_memory(samples: int, shape: tuple[int, ...], where: str) -> None:
    """Check before reading that `samples` float32 inputs of `shape`, and one copy of them, fit in memory.

    Raises:
        SpecError: they do not.
    """
    # Twice, because dealing the samples to clients and moving them to a device or a dtype copies them.
    need, free = 2 * 4 * samples * prod(shape), memory.available_bytes()
    if need > free:
        raise SpecError(
            f"{samples} inputs of shape {shape} need {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are available",
            where,
            "keep fewer with data.keep_train and data.keep_test, or make the images smaller",
        )
