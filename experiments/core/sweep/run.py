"""Running cells: skip what is done, resume after a kill, continue past failures, merge the results.

`run_cell` is one cell from lock to commit, and depends on nothing but its arguments; `run_cells` is the loop around it.
Another executor replaces the loop, not the cell.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments.core import clean
from experiments.core.errors import BusyError, FedlabError, MissingError, SpecError
from experiments.core.memory import Peak, is_out_of_memory, out_of_memory, require
from experiments.core.sealed import seal, set_aside, unseal
from experiments.core.sweep import files, stored_spec
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.core.sweep.merge import merge
from experiments.core.sweep.provenance import provenance, without_paths
from experiments.core.sweep.store import Store

_CLOCK_EVERY = 5.0  # seconds between writes of the time spent so far


@dataclass(frozen=True)
class Options:
    """How to run, none of which is part of a cell's id.

    Attributes:
        device, threads, data_dir: handed to the cells, see Context.
        resume: skip finished cells and go on from checkpoints; otherwise compute all of them again.
        overwrite: replace stored results of another spec. fail_fast: stop at the first failing cell.
        progress: (what, done, total) of the cell under way. status: words beside it, see Context.
        log: receives every line of log.txt.
        tell: receives what the user should know of the run (which test set, for instance), each line once.
        warn: receives (cell, line) of what a cell wants the user to know although it goes on.
        event: called with a cell and "start", "done", "skipped", "failed" or "busy".
    """

    device: str = "cpu"
    threads: int = 1
    data_dir: Path | None = None
    resume: bool = True
    overwrite: bool = False
    fail_fast: bool = False
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    status: Callable[[str], None] = lambda words: None
    log: Callable[[str], None] = lambda line: None
    tell: Callable[[str], None] = lambda line: None
    warn: Callable[[Cell, str], None] = lambda cell, line: None
    event: Callable[[Cell, str], None] = lambda cell, what: None


@dataclass(frozen=True)
class Failure:
    """A cell that could not be computed; `note` holds the traceback."""

    cell: Cell
    error: Exception
    note: Path


@dataclass
class Outcome:
    """What became of the cells, and the merged table. Another process is computing those that are `busy`."""

    done: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    busy: list[Cell] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    metrics: Path = Path()


def run_cells(
    cells: list[Cell],
    spec: dict[str, Any],
    out: Path,
    options: Options | None = None,
    given: dict[str, Any] | None = None,
    shared: Collection[str] = (),
) -> Outcome:
    """Compute the cells of one setting and merge its tables, whatever happened in between.

    A failing cell is noted and the next one tried. A cell that another process is computing is left to it.

    Args:
        cells: all of one paper, setting and scale.
        spec: the resolved spec as plain JSON, stored beside the results.
        out: the runs folder.
        options: how to run.
        given: the part of `spec` that is not at its default; None for all of it.
        shared: keys of `spec` whose values may differ between results that lie in one folder (`role.SHARED`).

    Raises:
        SpecError: results of another spec are stored here, or a cell found its request wrong.
        MissingError: a cell lacks data, a device or disk space, which the other cells would lack too; or `out` cannot
            be written to.
        BusyError: another process is running another spec here. ValueError: no cells, or cells of several settings.
    """
    options = options or Options()
    if len({(cell.paper, cell.setting, cell.scale) for cell in cells}) != 1:
        raise ValueError("run_cells takes the cells of exactly one setting")
    store, outcome = Store.of(out, cells[0]), Outcome()
    options = replace(options, tell=once(options.tell))
    try:
        with stored_spec.claimed(store, spec, cells, options.overwrite, given, shared):
            try:
                _each(cells, spec, out, options, outcome)
            finally:
                # Interrupted or not, what is done is there to be read. A full disk raises here again and says the same.
                outcome.metrics = merge(store, cells, lambda line: options.warn(cells[0], line))
    except OSError as error:
        if files.is_disk_full(error, out):
            raise files.disk_full(store.root.name) from error
        what = f"results cannot be written ({error.strerror or error})"
        raise MissingError(what, str(store.root), "give a folder that can be written to as --out") from error
    return outcome


def _each(cells: list[Cell], spec: dict[str, Any], out: Path, options: Options, outcome: Outcome) -> None:
    for cell in cells:
        ended = "failed"
        try:
            options.event(cell, "start")
            ended = run_cell(cell, spec, out, options)
            (outcome.done if ended == "done" else outcome.skipped).append(cell)
        except (SpecError, MissingError):
            raise
        except BusyError:
            ended = "busy"
            outcome.busy.append(cell)
        except Exception as error:
            outcome.failed.append(Failure(cell, error, _note(cell, error, out)))
        options.event(cell, ended)
        if ended == "failed" and options.fail_fast:
            return


def run_cell(cell: Cell, spec: dict[str, Any], out: Path, options: Options) -> Literal["done", "skipped"]:
    """One cell from lock to commit.

    Raises:
        BusyError: another process is computing it. MissingError: the disk is full, or the memory does not suffice;
            checkpoints are kept.
        Exception: whatever `cell.compute` raises; its work folder is kept for the next start.
    """
    store = Store.of(out, cell)

    def warn(line: str) -> None:
        options.warn(cell, line)

    with store.lock(cell.id):
        if options.resume and store.adopt(cell, warn):
            return "skipped"
        if options.device == "cpu":
            require(cell.memory, f"{store.root.name}/{cell.id}")
        try:
            folder = store.prepare(cell, not options.resume, warn)
            _compute(cell, spec, store, folder, options)
        except Exception as error:
            if files.is_disk_full(error, store.root):
                raise files.disk_full(f"{store.root.name}/{cell.id}") from error
            if is_out_of_memory(error):
                raise out_of_memory(error, f"{store.root.name}/{cell.id}") from error
            if isinstance(error, FedlabError):
                store.drop_empty(cell)
            raise
    return "done"


def _compute(cell: Cell, spec: dict[str, Any], store: Store, folder: Path, options: Options) -> None:
    peak = Peak(options.device)
    clock = Clock(folder / "clock.json", lambda line: options.warn(cell, line))
    with (folder / "log.txt").open("a", buffering=1, encoding="utf-8") as log:

        def write(line: str) -> None:
            log.write(f"{_now()} {clean.line(line)}\n")

        def note(line: str) -> None:
            write(line)
            options.log(line)

        def progress(what: str, done: int, total: int) -> None:
            clock.tick()
            options.progress(what, done, total)

        def partial(rows: list[Row]) -> None:
            store.note_partial(cell, rows)

        def warn(line: str) -> None:
            note(f"warning: {line}")
            options.warn(cell, line)

        def tell(line: str) -> None:
            write(line)
            options.tell(line)

        context = Context(
            folder, options.device, options.threads, options.data_dir, progress, note, warn, tell, partial,
            options.status,
        )  # fmt: skip
        note(f"start {clock.starts} of {cell.id} on {options.device}")
        rows = cell.compute(context)
        note(f"{len(rows)} rows after {clock.seconds:.1f} s")
    timing = {"start": clock.began, "end": _now(), "wall_s": round(clock.seconds, 3), "starts": clock.starts}
    store.commit(cell, rows, provenance(cell, context, spec, timing, peak))


def once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """`tell`, deaf to a line that it has been told before."""
    said: set[str] = set()

    def fresh(line: str) -> None:
        if line not in said:
            said.add(line)
            tell(line)

    return fresh


class Clock:
    """Time spent on a cell over all its starts; a kill loses at most a few seconds of it."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        stored = _told(path, warn)
        self._path, self._before = path, float(stored.get("seconds", 0.0))
        self.starts, self.began = int(stored.get("starts", 0)) + 1, str(stored.get("began", _now()))
        self._start = self._written = time.monotonic()
        self._write()

    @property
    def seconds(self) -> float:
        """Seconds spent so far, earlier starts included."""
        return self._before + time.monotonic() - self._start

    def tick(self) -> None:
        """Note the time, at most every few seconds."""
        if time.monotonic() - self._written >= _CLOCK_EVERY:
            self._written = time.monotonic()
            self._write()

    def _write(self) -> None:
        state = {"seconds": round(self.seconds, 3), "starts": self.starts, "began": self.began}
        files.atomic_write(self._path, seal(state))


def _told(path: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """What the clock showed when the cell was last interrupted."""
    try:
        return unseal(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        warn(f"{path.name} is damaged: set aside as {set_aside(path)}, the time spent so far is not known")
        return {}


def _note(cell: Cell, error: Exception, out: Path) -> Path:
    path = Store.of(out, cell).failed(cell)
    trace = without_paths("".join(traceback.format_exception(error)))
    files.atomic_write(path, "\n".join(map(clean.line, trace.split("\n"))))
    return path


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
