"""Rows on a screen of any width: a number is never cut or folded, and every value is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_NUMBER = re.compile(r"[-+±~<>≈]?\d")
"""How a cell begins that stays on one line: 0.98 ± 0.01, 3 of 4, 12 min."""


@dataclass(frozen=True)
class Column:
    """A column of texts. `number`: it holds numbers only, which stand at its right."""

    name: str
    cells: tuple[str, ...]
    number: bool

    @property
    def natural(self) -> int:
        """Signs of its widest line."""
        return max(map(cell_len, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """Signs below which a number, or a word, would be torn apart."""
        whole = [cell for cell in self.cells if self.number or _NUMBER.match(cell)]
        words = [word for text in (self.name, *self.cells) for word in text.split()]
        return max(map(cell_len, [*whole, *words, ""]))


def fitted(title: str, columns: Sequence[Column], screen: Console) -> Table | None:
    """The rows as a table that fits the screen, texts folded between words; None where it would have to tear some."""
    free = screen.width - _frame(columns, screen)
    if sum(column.least for column in columns) > free:
        return None
    return _drawn(title, columns, _widths(columns, free))


def blocks(columns: Sequence[Column], width: int) -> Iterator[str]:
    """The rows one below the other, each as `name value` pairs; pairs move to the next line whole."""
    for row in range(len(columns[0].cells) if columns else 0):
        pairs = [f"{c.name} {c.cells[row]}" for c in columns if c.cells[row]]
        line = ""
        for pair in pairs:
            if line and cell_len(line) + 3 + cell_len(pair) > width:
                yield line
                line = f"  {pair}"
            else:
                line = f"{line} · {pair}" if line else pair
        yield line


def _widths(columns: Sequence[Column], free: int) -> list[int]:
    """Signs for each column: what it would take, the widest cut down alike as far as they must be."""

    def under(most: int) -> list[int]:
        return [min(c.natural, max(c.least, most)) for c in columns]

    return under(max((most for most in range(free + 1) if sum(under(most)) <= free), default=0))


def _frame(columns: Sequence[Column], screen: Console) -> int:
    """Signs that lines and gaps between the columns take."""
    naturals = [column.natural for column in columns]
    options = screen.options.update(width=sum(naturals) + 8 * len(columns) + 8)
    return Measurement.get(screen, options, _drawn("", columns, naturals)).maximum - sum(naturals)


def _drawn(title: str, columns: Sequence[Column], widths: Sequence[int]) -> Table:
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    for column, width in zip(columns, widths, strict=True):
        justify = "right" if column.number else "left"
        table.add_column(Text(column.name), justify=justify, overflow="fold", width=width)  # type: ignore[arg-type]
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table
