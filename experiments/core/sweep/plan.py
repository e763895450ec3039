"""What a run would do, before it does it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.core.memory import available_bytes
from experiments.core.sweep import files
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.store import Store
from experiments.core.sweep.whole import is_whole, read_json


@dataclass(frozen=True)
class Line:
    """One cell of the plan.

    Attributes:
        cell: the cell. state: "done", "resume" (a checkpoint is there), "failed" (to be tried again), "to do".
        seconds: estimate of what is left to compute, on 2 CPU cores; 0 when done or unknown.
        disk: bytes the cell takes on disk now.
    """

    cell: Cell
    state: str
    seconds: float
    disk: int

    def table(self) -> dict[str, Any]:
        """The line as a table row for the screen or --json."""
        cell = self.cell
        return {
            "setting": cell.setting, "scale": cell.scale, "seed": cell.seed, "method": cell.method, "cell": cell.id,
            "state": self.state, "worlds": cell.worlds, "seconds": self.seconds, "memory": cell.memory,
            "disk": self.disk,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The cells of a run, done or to do, and the room for them."""

    lines: tuple[Line, ...]
    free_disk: int
    free_memory: int

    @property
    def seconds(self) -> float:
        """Estimated seconds to go on 2 CPU cores; cells of unknown cost count nothing."""
        return sum(line.seconds for line in self.lines)

    @property
    def worlds(self) -> int:
        """Training runs to go."""
        return sum(line.cell.worlds for line in self.lines if line.state != "done")

    @property
    def memory(self) -> int:
        """The largest estimate of memory of a cell to do, in bytes."""
        return max((line.cell.memory for line in self.lines if line.state != "done"), default=0)


def plan(cells: list[Cell], out: Path) -> Plan:
    """Look at what is stored under the runs folder `out` and say what is left. Writes nothing."""
    free = shutil.disk_usage(files.nearest(out)).free
    return Plan(tuple(_line(cell, Store.of(out, cell)) for cell in cells), free, available_bytes())


def _line(cell: Cell, store: Store) -> Line:
    work = store.work(cell)
    if store.is_done(cell) or (is_whole(work) and cell.is_described_by(read_json(work / "cell.json"))):
        state = "done"
    elif any(work.rglob("*.ckpt")):
        state = "resume"
    else:
        state = "failed" if store.failed(cell).is_file() else "to do"
    disk = files.size_of(store.final(cell)) + files.size_of(work)
    return Line(cell, state, 0.0 if state == "done" else cell.work, disk)
