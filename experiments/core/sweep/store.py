"""Where cells lie on disk, and how they get there whole.

    <out>/<paper>/<setting>-<scale>/
        spec.yaml  metrics.csv  runs.csv  spec.csv
        <cell id>/        cell.json rows.csv provenance.json log.txt DONE, and the cell's artefacts
        <cell id>.work/   the same while it is being computed; checkpoints (*.ckpt) survive a kill here
        <cell id>.failed.txt
        .locks/

A cell is complete when its DONE is there, names every file with its SHA-256, and every hash agrees; anything else is
computed again. DONE is written last and the folder renamed after that, so that no kill leaves a cell that looks done.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.core.sweep import files
from experiments.core.sweep.cell import Cell, Row
from experiments.core.sweep.rows import complete_row, to_csv

_UNHASHED = {"DONE", "log.txt"}
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
        folders = (self.final(cell), *self._alike(cell))
        return next((f for f in folders if self._describes(f, cell) and is_whole(f)), None)

    def _alike(self, cell: Cell, ending: str = "") -> list[Path]:
        """The folders of cells of this seed and method."""
        return [f for f in self.folders() if f.name.startswith(cell.prefix) and f.suffix == ending]

    def finished(self) -> Iterator[Path]:
        """The folders of every whole cell, in the order of their names."""
        for folder in self.folders():
            if folder.suffix != ".work" and is_whole(folder):
                yield folder

    def folders(self) -> Iterator[Path]:
        """Every folder of a cell, finished or not, in the order of their names."""
        if self.root.is_dir():
            yield from sorted(f for f in self.root.iterdir() if f.is_dir() and not f.name.startswith("."))

    def adopt(self, cell: Cell) -> bool:
        """True when nothing is left to compute; finishes the renaming that a kill may have cut short. Hold the lock."""
        work, done = self.work(cell), self._done(cell)
        if done is not None:
            if done != self.final(cell):
                shutil.rmtree(self.final(cell), ignore_errors=True)
                done.rename(self.final(cell))
            shutil.rmtree(work, ignore_errors=True)
            return True
        if is_whole(work) and self._describes(work, cell):
            self._promote(cell)
            return True
        return False

    def prepare(self, cell: Cell, fresh: bool) -> Path:
        """The work folder, ready to compute in; checkpoints of an earlier start stay unless `fresh`. Hold the lock."""
        work = self.work(cell)
        if not work.is_dir():
            for known in (f for f in self._alike(cell, ".work") if self._describes(f, cell)):
                known.rename(work)
                break
        if work.is_dir() and (fresh or not self._describes(work, cell)):
            shutil.rmtree(work)
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
            if path.is_file() and _is_passing(path.relative_to(work)):
                path.unlink()
        if final.exists():  # corrupt, or asked to be computed anew
            shutil.rmtree(final)
        work.rename(final)
        files.sync_folder(self.root)

    def drop_empty(self, cell: Cell) -> None:
        """Remove a work folder that holds nothing worth keeping (the cell failed before its first checkpoint)."""
        work = self.work(cell)
        if work.is_dir() and {f.name for f in work.iterdir()} <= {
            "cell.json",
            "log.txt",
            "clock.json",
            "formulation.json",
        }:
            shutil.rmtree(work)

    def remove_others(self, cells: list[Cell]) -> None:
        """Remove every cell that is not in `cells` (--overwrite). BusyError when one of them is being computed."""
        keep = {cell.id for cell in cells}
        for folder in self.folders():
            cell_id = folder.name.removesuffix(".work")
            if cell_id not in keep:
                with self.lock(cell_id):
                    shutil.rmtree(folder)
        for note in self.root.glob("*.failed.txt"):
            if note.name.removesuffix(".failed.txt") not in keep:
                note.unlink()

    @staticmethod
    def _describes(folder: Path, cell: Cell) -> bool:
        return cell.is_told_by(read_json(folder / "cell.json"))


def is_whole(folder: Path) -> bool:
    """Whether every file that DONE names (rows.csv, cell.json, provenance.json among them) has the hash it gives."""
    hashes = read_json(folder / "DONE")
    if not isinstance(hashes, dict) or not {"rows.csv", "cell.json", "provenance.json"} <= set(hashes):
        return False
    return all((folder / name).is_file() and files.sha256(folder / name) == value for name, value in hashes.items())


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None when it is missing or cut short."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _kept(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not _is_passing(name) and name.as_posix() not in _UNHASHED:
            yield path


def _is_passing(name: Path) -> bool:
    """Whether this file serves the computation under way only: a checkpoint, or the clock."""
    return name.suffix == ".ckpt" or name.as_posix() in ("clock.json", PARTIAL)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"
