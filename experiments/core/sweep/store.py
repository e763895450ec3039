"""Where cells lie on disk, and how they get there whole.

    <out>/<paper>/<setting>-<scale>/
        spec.yaml  metrics.csv  runs.csv  spec.csv
        <cell id>/        cell.json rows.csv provenance.json log.txt DONE, and the cell's artefacts
        <cell id>.work/   the same while it is being computed; checkpoints (*.ckpt) survive a kill here
        <cell id>.damaged/  what was found damaged, set aside until the cell is done again
        <cell id>.failed.txt
        .locks/

A cell is complete when its DONE is there, names every file with its SHA-256, and every hash agrees; anything else is
set aside and computed again. DONE is written last and the folder renamed after that, so that no kill leaves a cell that
looks done.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from experiments.core.errors import SpecError
from experiments.core.sealed import DAMAGED, remove, set_aside
from experiments.core.sweep import files
from experiments.core.sweep.cell import Cell, Row
from experiments.core.sweep.rows import complete_row, to_csv
from experiments.core.sweep.whole import fault, is_whole, read_json

_UNHASHED = {"DONE", "log.txt"}
_AT_START = {"cell.json", "log.txt", "clock.json", "formulation.json"}
PARTIAL = "partial.csv"
"""In a work folder: the rows so far, for `fedlab report` to say how far an unfinished cell has come."""


@dataclass(frozen=True)
class Store:
    """The folder of one setting at one scale."""

    root: Path

    @classmethod
    def of(cls, out: Path, cell: Cell) -> Store:
        """The store that holds `cell` under the runs folder `out`."""
        return cls(out / cell.paper / f"{cell.setting}-{cell.scale}")

    def final(self, cell: Cell) -> Path:
        """The folder of the finished cell."""
        return self.root / cell.id

    def work(self, cell: Cell) -> Path:
        """The folder of the cell while it is computed."""
        return self.root / f"{cell.id}.work"

    def failed(self, cell: Cell) -> Path:
        """The file with the traceback of the cell's last failure."""
        return self.root / f"{cell.id}.failed.txt"

    def lock(self, cell_id: str) -> contextlib.AbstractContextManager[None]:
        """Hold the cell; BusyError at once when another process does."""
        return files.lock(self.root / ".locks" / cell_id, f"cell {self.root.name}/{cell_id}")

    def lock_folder(self) -> contextlib.AbstractContextManager[None]:
        """Hold spec.yaml and the merged tables; waits, since it is only ever held for moments."""
        return files.lock(self.root / ".locks" / "folder", self.root.name, wait=True)

    def in_use(self, shared: bool = True) -> contextlib.AbstractContextManager[None]:
        """Hold the stored spec as it is while running; only who holds it unshared may put another in its place."""
        return files.lock(self.root / ".locks" / "spec", self.root.name, shared=shared)

    def is_done(self, cell: Cell) -> bool:
        """Whether the finished folder is there, whole, and of this very cell."""
        return self._done(cell) is not None

    def _done(self, cell: Cell) -> Path | None:
        """The whole folder of this very cell; also one that code with fewer parameters stored under another id."""
        folders = chain([self.final(cell)], self._alike(cell))
        return next((f for f in folders if self._describes(f, cell) and is_whole(f)), None)

    def _alike(self, cell: Cell, ending: str = "") -> Iterator[Path]:
        """The other folders of cells of this seed and method; `ending` is that of the folder's name."""
        alike = re.compile(re.escape(cell.prefix) + "[0-9a-f]{10}" + re.escape(ending))
        folders = self.root.iterdir() if self.root.is_dir() else ()
        yield from sorted(f for f in folders if alike.fullmatch(f.name) and f.name != cell.id + ending)

    def finished(self) -> Iterator[Path]:
        """The folder of every cell that came to its end, whole or damaged, in the order of their names."""
        yield from (folder for folder in self.folders() if folder.suffix != ".work")

    def folders(self) -> Iterator[Path]:
        """Every folder of a cell, finished or not, in the order of their names."""
        if self.root.is_dir():
            yield from sorted(
                f for f in self.root.iterdir() if f.is_dir() and not f.name.startswith(".") and f.suffix != DAMAGED
            )

    def adopt(self, cell: Cell, warn: Callable[[str], None]) -> bool:
        """True when nothing is left to compute; finishes the renaming that a kill may have cut short. Hold the lock.

        A finished folder that is damaged is set aside with a warning.
        """
        work, final, done = self.work(cell), self.final(cell), self._done(cell)
        if done is not None:
            if done != final:
                remove(final)
                done.rename(final)
            shutil.rmtree(work, ignore_errors=True)
            return True
        if is_whole(work) and self._describes(work, cell):
            self._promote(cell)
            return True
        if final.exists():
            why = fault(final) or "cell.json is not this cell's"
            warn(f"the stored cell is damaged ({why}): set aside as {set_aside(final)}, computed again")
        return False

    def prepare(self, cell: Cell, fresh: bool, warn: Callable[[str], None]) -> Path:
        """The work folder, ready to compute in; checkpoints of an earlier start stay unless `fresh`. Hold the lock.

        A work folder that does not say it is this cell's is set aside with a warning, where there is anything in it.
        """
        work = self.work(cell)
        if not work.is_dir():
            for known in (f for f in self._alike(cell, ".work") if self._describes(f, cell)):
                known.rename(work)
                break
        ours = self._describes(work, cell)
        if fresh or (not ours and _is_bare(work)):
            remove(work)
        elif work.exists() and not ours:
            aside = set_aside(work)
            warn(f"cell.json of what was computed so far is damaged: set aside as {aside}, computed from the start")
        work.mkdir(parents=True, exist_ok=True)
        (work / "DONE").unlink(missing_ok=True)
        for leftover in work.rglob(".*.tmp"):
            leftover.unlink()
        if not (work / "cell.json").is_file():
            files.atomic_write(work / "cell.json", _json(cell.describe()))
        return work

    def note_partial(self, cell: Cell, rows: list[Row]) -> None:
        """Write the rows so far into the work folder."""
        text = to_csv(complete_row(cell, row) for row in rows)
        files.atomic_write(self.work(cell) / PARTIAL, text)

    def commit(self, cell: Cell, rows: list[Row], provenance: dict[str, Any]) -> None:
        """Store the finished cell. Checkpoints go after DONE, so that a kill in between loses nothing. Hold the lock.

        Raises:
            ValueError: on a row that does not fit the table. OSError: as the operating system says.
        """
        work = self.work(cell)
        files.atomic_write(work / "rows.csv", to_csv(complete_row(cell, row) for row in rows))
        files.atomic_write(work / "provenance.json", _json(provenance))
        hashes = {}
        for path in _kept(work):
            files.sync_file(path)
            hashes[path.relative_to(work).as_posix()] = files.sha256(path)
        files.atomic_write(work / "DONE", _json(hashes))
        self._promote(cell)
        self.failed(cell).unlink(missing_ok=True)

    def _promote(self, cell: Cell) -> None:
        work, final = self.work(cell), self.final(cell)
        for path in list(work.rglob("*")):
            if _is_passing(path.relative_to(work)):
                remove(path)
        for other in (final, *(folder.with_name(folder.name + DAMAGED) for folder in (final, work))):
            remove(other)
        work.rename(final)
        files.sync_folder(self.root)

    def drop_empty(self, cell: Cell) -> None:
        """Remove a work folder that holds nothing worth keeping (the cell failed before its first checkpoint)."""
        if _is_bare(self.work(cell)):
            remove(self.work(cell))

    def remove_others(self, cells: list[Cell]) -> None:
        """Remove every cell that is not in `cells` (--overwrite). BusyError when one of them is being computed."""
        keep = {cell.id for cell in cells}
        for folder in self.folders():
            cell_id = folder.name.removesuffix(".work")
            if cell_id not in keep:
                with self.lock(cell_id):
                    shutil.rmtree(folder)
        for folder in self.root.glob(f"*{DAMAGED}"):
            remove(folder)
        for note in self.root.glob("*.failed.txt"):
            if note.name.removesuffix(".failed.txt") not in keep:
                note.unlink()

    @staticmethod
    def _describes(folder: Path, cell: Cell) -> bool:
        try:
            return cell.is_described_by(read_json(folder / "cell.json"))
        except SpecError:  # it holds what no cell.json does, such as NaN
            return False


def _kept(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not _is_passing(name) and name.as_posix() not in _UNHASHED:
            yield path


def _is_passing(name: Path) -> bool:
    """Whether this serves the computation under way only: a checkpoint, the clock, what was set aside."""
    aside = any(part.endswith(DAMAGED) for part in name.parts)
    return aside or name.suffix == ".ckpt" or name.as_posix() in ("clock.json", PARTIAL)


def _is_bare(work: Path) -> bool:
    """Whether this is a work folder in which nothing has been computed yet."""
    return work.is_dir() and {f.name for f in work.iterdir() if not f.name.endswith(".tmp")} <= _AT_START


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"
