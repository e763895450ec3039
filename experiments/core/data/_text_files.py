"""Reading the csv files of the character-level ConvNet paper (Zhang, Zhao, LeCun 2015), unpacked or packed."""

from __future__ import annotations

import csv
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from experiments.core.data._files import locate, require_room
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

ARCHIVES = (".tgz", ".tar.gz")
_DIGITS = 6  # of a class: a larger one is a slip, and would ask for as many outputs


def find(path: str, data_dir: Path | None) -> Path:
    """The folder a spec names, or the archive of that name.

    Raises:
        MissingError: there is neither.
    """
    for name in (path + suffix for suffix in ("", *ARCHIVES)):
        try:
            return locate(name, data_dir)
        except MissingError:
            continue
    return locate(path, data_dir)


def name_of(place: Path) -> str:
    """The data set's name: the folder's or archive's, in small letters."""
    name = place.resolve().name.lower()
    for suffix in ARCHIVES:
        name = name.removesuffix(suffix)
    return name


def read(place: Path, part: str, columns: tuple[int, ...] | None) -> tuple[list[str], np.ndarray]:
    r"""All texts of `train.csv` or `test.csv` and their labels from 0; the signs \n for a new line become a space.

    Raises:
        MissingError: the file is not there or cannot be read.
        SpecError: it is damaged, or a row has no class, or not the columns asked for.
    """
    import numpy as np

    texts, labels = [], []
    where = f"{place}/{part}.csv"
    with _opened(place, f"{part}.csv") as opened:
        for number, row in enumerate(csv.reader(opened), 1):
            label, parts = _row(row, columns, f"{where}, row {number}")
            labels.append(label)
            texts.append(" ".join(parts).replace("\\n", " "))
    if not texts:
        raise SpecError("no rows", where, "give rows of a class and a text")
    return texts, np.array(labels, np.int64)


def class_names(place: Path) -> list[str]:
    """The lines of classes.txt, or none."""
    try:
        with _opened(place, "classes.txt") as opened:
            return [line.strip() for line in opened if line.strip()]
    except MissingError:
        return []


@contextmanager
def _opened(place: Path, name: str) -> Iterator[TextIO]:
    """A file of the folder or of the archive, as text; nothing is unpacked to disk."""
    where = f"{place}/{name}"
    try:
        if place.is_dir():
            with (place / name).open(encoding="utf-8-sig", newline="") as opened:
                yield opened
        else:
            with (
                tarfile.open(place) as archive,
                io.TextIOWrapper(_member(archive, name), "utf-8-sig", newline="") as opened,
            ):
                yield opened
    except UnicodeDecodeError as error:
        raise SpecError(
            f"not a text in UTF-8 ({error.reason})", where, "save it as UTF-8, or fetch it again"
        ) from error
    except csv.Error as error:
        todo = "fetch it again, or look for a quote that is never closed"
        raise SpecError(f"not a sound csv file ({error})", where, todo) from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        todo = "correct data.path, or fetch it again"
        raise SpecError(f"neither a folder nor a sound tar archive ({_first_line(error)})", str(place), todo) from error
    except OSError as error:
        reason = error.strerror or error
        raise MissingError(f"cannot read the file ({reason})", where, "check that it is there") from error


def _first_line(error: Exception) -> str:
    """What is wrong, without what every kind of packing says of it."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")


def _member(archive: tarfile.TarFile, name: str) -> io.BufferedReader:
    for member in archive:
        if member.isfile() and member.name.rpartition("/")[2] == name:
            require_room(member.size, Path(str(archive.name)))
            found = archive.extractfile(member)
            assert found is not None
            return found  # type: ignore[return-value]
    raise FileNotFoundError(2, f"no {name} in the archive")


def _row(row: list[str], columns: tuple[int, ...] | None, where: str) -> tuple[int, list[str]]:
    """Label from 0, and the text columns that are not empty."""
    label = row[0].strip() if row else ""
    if len(row) < 2 or not label.isdecimal() or len(label) > _DIGITS or int(label) < 1:
        started = f"the row starts with {row[0][:20]!r}" if len(row) > 1 else "the row has one column"
        todo = "give every row a class 1, 2, ... and at least one text; no row of headings"
        raise SpecError(started if row else "an empty row", where, todo)
    most = max(columns or (1,))
    if most >= len(row):
        raise SpecError(f"{len(row) - 1} text columns, not {most}", where, "correct data.columns")
    picked = [row[c] for c in columns] if columns else row[1:]
    return int(label) - 1, [part for part in picked if part]
