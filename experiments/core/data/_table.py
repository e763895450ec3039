"""Reading a text table: columns of numbers and columns of words; every error names its line."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.data._labels import is_number
from experiments.core.data._unpack import lines_of
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

SEPARATORS = (",", ";", "\t", "|")
"""Common column separators."""

_BLOCK = 8192  # rows turned into numbers at a time
_TRUTH = {"true": 1.0, "false": 0.0}
_SHOWN = 40  # letters of a cell in a message

Row = tuple[int, list[str]]
"""The line on which a row begins, and its cells."""


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        separator: between columns. encoding: of the file. decimal: the sign before fractions, "." or ",".
        na: the cells that hold no value.
    """

    separator: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    na: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Table:
    """A parsed table of N rows.

    Attributes:
        x: [N, d] float64, the numeric columns. columns: their d names.
        words: [N] str of each column of words, by its name.
        lines: [N] int64, the line on which each row begins; the header is line 1.
        target: [N, 1] float64, the regression target, or None.
    """

    x: np.ndarray
    columns: tuple[str, ...]
    words: dict[str, np.ndarray]
    lines: np.ndarray
    target: np.ndarray | None = None

    def rows(self, rows: np.ndarray) -> Table:
        """The table restricted to `rows` (indices or a mask)."""
        words = {name: column[rows] for name, column in self.words.items()}
        target = None if self.target is None else self.target[rows]
        return replace(self, x=self.x[rows], words=words, lines=self.lines[rows], target=target)


@contextmanager
def opened(file: Path, dialect: Dialect) -> Iterator[Reader]:
    """A table to be read; the file is always closed at the end.

    Raises:
        MissingError, SpecError: as `_rows`; an empty file; two columns of one name.
    """
    with closing(_rows(file, dialect)) as rows:
        yield Reader(file, dialect, rows)


class Reader:
    """An open table: the header has been read, the rows have not.

    Attributes:
        file: its path. header: names of the columns.
    """

    def __init__(self, file: Path, dialect: Dialect, rows: Iterator[Row]) -> None:
        self.file, self._dialect, self._rows = file, dialect, rows
        first = next(rows, None)
        if first is None:
            raise SpecError("an empty file", str(file), "give a header and rows")
        self.header = [name.strip() for name in first[1]]
        twice = sorted({name for name in self.header if name and self.header.count(name) > 1})
        if twice:
            raise SpecError(f"two columns are called {twice[0]!r}", str(file), "rename one of them")

    def require(self, names: Iterable[str]) -> None:
        """Raise SpecError unless there are columns of all these names."""
        for name in names:
            if name not in self.header:
                raise self._lacks(name)

    def read(self, numbers: Sequence[str], words: Sequence[str]) -> Table:
        """All rows.

        Args:
            numbers: columns of numbers; `true` and `false` are 1 and 0. words: columns to be kept as text.

        Raises:
            SpecError: a row of another length than the header, a cell without a value or that is no number.
        """
        import numpy as np

        places = {name: self.header.index(name) for name in (*numbers, *words)}
        lines: list[int] = []
        parts: list[np.ndarray] = []
        cells_of: dict[str, list[str]] = {name: [] for name in words}
        while block := list(islice(self._rows, _BLOCK)):
            at = [line for line, _ in block]
            lines += at
            cells = list(zip(*(row for _, row in block), strict=True))
            columns = [self._numbers(name, cells[places[name]], at) for name in numbers]
            parts.append(np.stack(columns, 1) if columns else np.empty((len(at), 0)))
            for name in words:
                cells_of[name] += self._words(name, cells[places[name]], at)
        x = np.concatenate(parts) if parts else np.empty((0, len(numbers)))
        texts = {name: np.array(column, dtype=str) for name, column in cells_of.items()}
        return Table(x, tuple(numbers), texts, np.array(lines, np.int64))

    def _numbers(self, name: str, column: Sequence[str], lines: Sequence[int]) -> np.ndarray:
        """A column of a block as floats."""
        import numpy as np

        comma = self._dialect.decimal == ","
        joined = "".join(column)
        plain = "_" not in joined and not (comma and "." in joined) and set(self._dialect.na).isdisjoint(column)
        try:
            if plain:
                values = np.array([cell.replace(",", ".") for cell in column] if comma else column, dtype=np.float64)
                if np.isfinite(values).all():
                    return values
        except ValueError:
            pass  # the faulty cell is located below
        return np.array([self._number(name, cell, line) for cell, line in zip(column, lines, strict=True)])

    def _number(self, name: str, cell: str, line: int) -> float:
        """One cell as a finite float."""
        if cell in self._dialect.na:
            raise self._gap(name, line)
        text = cell.strip()
        sign, other = self._dialect.decimal, "," if self._dialect.decimal == "." else "."
        if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        if (
            other not in text
            and is_number(text.replace(sign, "."))
            and abs(value := float(text.replace(sign, "."))) < 1e308
        ):
            return value
        raise SpecError(
            f"column {name!r} holds {_short(cell)} in line {line}, which is not a number", str(self.file),
            self._advice(text, sign, other),
        )  # fmt: skip

    @staticmethod
    def _advice(text: str, sign: str, other: str) -> str:
        """The remedy for a cell that is not a number."""
        if other in text and is_number(text.replace(sign, "").replace(other, ".")):
            turned = f"set data.decimal: '{other}' if {other!r} is the decimal sign here"
            return f"{turned}; signs between thousands are not read: take them out"
        if is_number(text.replace(sign, "").replace(other, "").replace(" ", "").replace("'", "")):
            return "take out the signs between thousands"
        return "correct the cell (data.na lists words for a missing value), or leave the column out with data.ignore"

    def _words(self, name: str, column: Sequence[str], lines: Sequence[int]) -> list[str]:
        """A column of a block as text."""
        stripped = [cell.strip() for cell in column]
        gaps = set(self._dialect.na).intersection(stripped)
        if gaps:
            raise self._gap(name, next(line for cell, line in zip(stripped, lines, strict=True) if cell in gaps))
        return list(column)

    def _gap(self, name: str, line: int) -> SpecError:
        return SpecError(f"line {line} has no value in column {name!r}", str(self.file), "fill or remove the row")

    def _lacks(self, name: str) -> SpecError:
        """Why a column is missing: another separator, no header, or a misspelt name."""
        whole = self._dialect.separator.join(self.header)
        for other in SEPARATORS:
            split = [part.strip().strip('"') for part in whole.split(other)]
            if other != self._dialect.separator and (name in split or len(self.header) == 1 < len(split)):
                what = f"the columns are separated by {other!r}, not by {self._dialect.separator!r}"
                return SpecError(what, str(self.file), f"set data.separator: {other!r}")
        if all(is_number(cell) for cell in self.header):
            return SpecError("line 1 holds numbers, not the names of columns", str(self.file), "put a header there")
        return SpecError(f"no column {name!r}", str(self.file), f"it has {', '.join(map(_named, self.header))}")


def _rows(file: Path, dialect: Dialect) -> Generator[Row]:
    """The header and all rows that are not empty lines, each as long as the header.

    Raises:
        MissingError, SpecError: the file cannot be read, is damaged, or is no table.
    """
    where, started, width = str(file), 1, 0
    try:
        with closing(lines_of(file, dialect.encoding)) as lines:
            reader = csv.reader(lines, delimiter=dialect.separator, strict=True)
            for cells in reader:
                line, started = started, reader.line_num + 1
                if not cells:
                    continue
                if width and len(cells) != width:
                    what = f"line {line} has {len(cells)} field{'s' * (len(cells) != 1)}, the header {width}"
                    raise SpecError(what, where, "give every row as many fields as the header")
                width = width or len(cells)
                yield line, cells
    except csv.Error as error:
        todo = "look for a quote that is never closed, or save the file again as csv"
        raise SpecError(f"line {started} is not valid csv ({error})", where, todo) from error


def _short(cell: str) -> str:
    """A cell as a message shows it."""
    return repr(cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "...")


def _named(name: str) -> str:
    return name or "(a column without a name)"
