"""The screen: results on stdout, notes and progress on stderr. The only module that prints."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from experiments.core import clean
from experiments.core.errors import FedlabError
from fedlab_cli import interrupt, tables
from fedlab_cli.left import Left

PLAIN_EVERY = 30.0
"""Seconds between progress lines when stderr is no terminal."""

_CELLS = "cells"
_WIDTH = 180  # of tables that no terminal bounds


@dataclass
class Screen:
    """How much is said, and how."""

    as_json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: bool = True
    after_interrupt: tuple[str, ...] = ()
    """What to say after "interrupted"."""

    def out(self) -> Console:
        """A console on the present stdout."""
        width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or _WIDTH)
        return Console(file=sys.stdout, width=width, no_color=not self.color, highlight=False, soft_wrap=False)

    def err(self) -> Console:
        """A console on the present stderr."""
        return Console(file=sys.stderr, no_color=not self.color, highlight=False, soft_wrap=True)


screen = Screen()


def setup(as_json: bool = False, quiet: bool = False, verbose: int = 0, color: bool | None = None) -> None:
    """Settle the screen for this command; `color` None leaves what stands."""
    screen.as_json, screen.quiet, screen.verbose, screen.after_interrupt = as_json, quiet, verbose, ()
    screen.color = screen.color if color is None else color


def say(line: str) -> None:
    """A line of result on stdout."""
    screen.out().print(Text(clean.line(line)), soft_wrap=True)


def note(line: str) -> None:
    """A remark on stderr, unless --quiet."""
    if not screen.quiet:
        screen.err().print(Text(clean.line(line)))


def detail(line: str) -> None:
    """A remark that only -v shows."""
    if screen.verbose:
        note(line)


def dump(value: Any) -> None:
    """`value` as JSON on stdout; NaN becomes null, so that every reader can take it."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(clean.json_text(text) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Rows as a table on stdout."""
    names = list(columns or (rows[0] if rows else ()))
    drawn = [
        tables.Column(
            clean.line(name),
            tuple(shown(row.get(name)) for row in rows),
            bool(rows) and all(isinstance(row.get(name), (int, float)) for row in rows),
        )
        for name in names
    ]
    out, title = screen.out(), clean.line(title)
    whole = tables.fitted(title, drawn, out)
    if whole is not None:
        out.print(whole)
        return
    out.print(Text(title, style="bold"))
    listing(tables.blocks(drawn, out.width))


def compact(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a narrow screen: means over seeds where there are any, without columns that say nothing new."""
    means = [row for row in rows if row.get("seed") == "mean"]
    shown_rows = means or list(rows)
    known = {"setting", "scale", *(["seed"] if means else [])}
    names = [
        n
        for n in (shown_rows[0] if shown_rows else ())
        if n not in known and any(shown(row.get(n)) for row in shown_rows)
    ]
    return [{name: row.get(name) for name in names} for row in shown_rows]


def shown(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else clean.line(str(value))


def span(seconds: float) -> str:
    """A duration in words: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """A number of bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def failure(fault: FedlabError) -> None:
    """An error: one line what, one line where, one line what to do; all faults when there are several."""
    err = screen.err()
    err.print(Text("error: ", style="bold red") + Text(clean.line(fault.what)))
    where = [fault.where] if fault.where else []
    faults = list(getattr(fault, "faults", ()))
    if len(faults) > 1:
        where += faults
    for line in where:
        err.print(Text(f"  at:  {clean.line(line)}"))
    if fault.todo:
        err.print(Text(f"  fix: {clean.line(fault.todo)}"))


class Meter:
    """Two bars on a terminal: cells, and the work of the cell under way. Elsewhere a line every half minute.

    Both say how long all cells together will still take.
    """

    def __init__(self, progress: Progress | None, cells: int, work: Mapping[str, float]) -> None:
        self._progress, self._cells, self._done = progress, cells, 0
        self._left = Left(work)
        self._bars: dict[str, TaskID] = {}
        self._last, self._status = time.monotonic(), ""

    def update(self, what: str, done: int, total: int) -> None:
        """Note that `done` of `total` of `what` are done."""
        interrupt.check()
        if what != _CELLS:
            self._left.progress(what, done, total)
        if self._progress is not None:
            if what not in self._bars:
                self._bars[what] = self._progress.add_task(clean.line(what), total=total)
            words = clean.line(what + self._status)
            self._progress.update(self._bars[what], completed=done, total=total, description=words)
            if _CELLS in self._bars:
                self._progress.update(self._bars[_CELLS], description=_CELLS + self._time())
        elif time.monotonic() - self._last >= PLAIN_EVERY:
            self._last = time.monotonic()
            at = f"cell {min(self._done + 1, self._cells)} of {self._cells}"
            note(f"{at}: {what} {done} of {total}{self._time()}{self._status}")

    def _time(self) -> str:
        """The time left, in words."""
        seconds = self._left.seconds()
        return "" if seconds is None else f"; about {span(seconds)} left"

    def status(self, words: str) -> None:
        """Say `words` beside the work of this cell from now on."""
        self._status = f"; {words}"

    def cell(self, name: str, what: str) -> None:
        """Note that the cell `name` has begun or ended."""
        if what == "start":
            self._left.start(name)
        else:
            self._left.end(what == "done")
            self._done += 1
            detail(f"{name}: {what}")
        if self._progress is not None:
            for bar in self._bars.values():
                self._progress.remove_task(bar)
            self._bars.clear()
        self._status = ""
        self.update(_CELLS, self._done, self._cells)


@contextmanager
def meter(cells: int, work: Mapping[str, float] | None = None) -> Iterator[Meter]:
    """A meter for a run of `cells` cells; `work`: their estimated seconds, by name (see `Left`)."""
    if screen.quiet or not sys.stderr.isatty():
        yield Meter(None, cells, work or {})
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err(), transient=True) as progress:
        yield Meter(progress, cells, work or {})


def trace(fault: BaseException) -> None:
    """The traceback of an error on stderr, whatever the screen says elsewhere."""
    for part in "".join(traceback.format_exception(fault)).rstrip("\n").split("\n"):
        screen.err().print(Text(clean.line(part)))


def listing(lines: Iterable[str]) -> None:
    """Plain lines on stdout."""
    for line in lines:
        say(line)
