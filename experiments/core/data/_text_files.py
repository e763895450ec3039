"""Reading the csv files of the character-level ConvNet paper (Zhang, Zhao, LeCun 2015), from a folder or an archive."""

from __future__ import annotations

import csv
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from experiments.core.data._files import first_line, locate, require_room
from experiments.core.data._labels import is_number, numbered_labels
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

ARCHIVES = (".tgz", ".tar.gz")


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


def name_of(source: Path) -> str:
    """The data set's name: that of the folder or archive, in lower case."""
    name = source.resolve().name.lower()
    for suffix in ARCHIVES:
        name = name.removesuffix(suffix)
    return name


def read(source: Path, name: str | None, columns: tuple[int, ...] | None) -> tuple[list[str], np.ndarray]:
    r"""All texts of a file and their labels from 0; the signs \n for a new line become a space.

    The file is the member `name` of the folder or archive `source`, or `source` itself where that is None.

    Raises:
        MissingError: the file is not there or cannot be read.
        SpecError: it is damaged, or a row lacks its class or the requested columns.
    """
    import numpy as np

    texts, labels, lines, started = [], [], [], 1
    where = f"{source}/{name}" if name else str(source)
    with _opened(source, name) as opened:
        reader = csv.reader(opened)
        for row in reader:
            label, parts = _row(row, columns, f"{where}, line {started}")
            labels.append(label)
            lines.append(started)
            texts.append(" ".join(parts).replace("\\n", " "))
            started = reader.line_num + 1
    if not texts:
        raise SpecError("no rows", where, "give rows of a class and a text")
    (numbers,) = numbered_labels(where, [np.array(labels)], naming=lambda part, row: f"line {lines[row]}").parts
    return texts, numbers - 1


def class_names(source: Path) -> list[str]:
    """The lines of classes.txt, or none."""
    try:
        with _opened(source, "classes.txt") as opened:
            return [line.strip() for line in opened if line.strip()]
    except MissingError:
        return []


@contextmanager
def _opened(source: Path, name: str | None) -> Iterator[TextIO]:
    """A file of the folder or of the archive, or `source` itself, as text; nothing is unpacked to disk."""
    where = f"{source}/{name}" if name else str(source)
    try:
        if name is None or source.is_dir():
            with (source / (name or "")).open(encoding="utf-8-sig", newline="") as opened:
                yield opened
        else:
            with (
                tarfile.open(source) as archive,
                io.TextIOWrapper(_member(archive, name), "utf-8-sig", newline="") as opened,
            ):
                yield opened
    except UnicodeDecodeError as error:
        raise SpecError(
            f"not a text in UTF-8 ({error.reason})", where, "save it as UTF-8, or fetch it again"
        ) from error
    except csv.Error as error:
        todo = "fetch it again, or look for a quote that is never closed"
        raise SpecError(f"not a valid csv file ({error})", where, todo) from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        todo = "correct data.path, or fetch it again"
        raise SpecError(f"neither a folder nor a valid tar archive ({first_line(error)})", str(source), todo) from error
    except OSError as error:
        if error.errno is None:  # how bz2 reports damage
            raise SpecError(f"damaged archive ({first_line(error)})", str(source), "fetch it again") from error
        reason = error.strerror or error
        raise MissingError(f"cannot read the file ({reason})", where, "check that it is there") from error


def _member(archive: tarfile.TarFile, name: str) -> io.BufferedReader:
    for member in archive:
        if member.isfile() and member.name.rpartition("/")[2] == name:
            require_room(member.size, Path(str(archive.name)))
            stream = archive.extractfile(member)
            assert stream is not None
            return stream  # type: ignore[return-value]
    raise FileNotFoundError(2, f"no {name} in the archive")


def _row(row: list[str], columns: tuple[int, ...] | None, where: str) -> tuple[str, list[str]]:
    """The class as it is written, 1 or more, and the text columns that are not empty."""
    label = row[0].strip() if row else ""
    if len(row) < 2 or not is_number(label) or float(label) < 1:
        started = f"the row starts with {row[0][:20]!r}" if len(row) > 1 else "the row has one column"
        todo = "give every row a class 1, 2, ... and at least one text; no row of headings"
        raise SpecError(started if row else "an empty row", where, todo)
    most = max(columns or (1,))
    if most >= len(row):
        raise SpecError(f"{len(row) - 1} text columns, not {most}", where, "correct data.columns")
    picked = [row[c] for c in columns] if columns else row[1:]
    return label, [part for part in picked if part]
