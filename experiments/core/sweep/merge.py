"""From cell folders to the setting's tidy tables, the only thing that reports read.

metrics.csv  one number a row, sorted, %.10g: the same bytes whenever the same cells are done
runs.csv     one cell a row: how long it took, on what, with which code
spec.csv     one leaf of the resolved spec a row
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.core.names import natural
from experiments.core.sweep import files, stored_spec
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.rows import from_csv, tidy, to_csv
from experiments.core.sweep.store import Store
from experiments.core.sweep.whole import fault, read_json

RUN_COLUMNS = (
    "paper", "setting", "scale", "seed", "method", "cell", "version", "worlds", "wall_s", "starts", "peak_memory",
    "device", "hardware", "threads", "fedlab", "torch", "git", "dirty", "facts",
)  # fmt: skip
SPEC_COLUMNS = ("paper", "setting", "scale", "key", "value")


def merge(store: Store, cells: list[Cell], warn: Callable[[str], None] = lambda line: None) -> Path:
    """Write the three tables from every whole cell that belongs here, and return the path of metrics.csv.

    A damaged one is left out with a warning. A cell belongs when it is one of `cells`, or was made earlier by the same
    version of the paper for a seed and method that `cells` does not cover.
    """
    path = store.root / "metrics.csv"
    with store.lock_folder():
        for leftover in store.root.glob(".*.tmp"):
            leftover.unlink()
        folders = _belonging(store, cells, warn)
        if not folders and not path.exists():
            return path
        metrics = [row for folder in folders for row in from_csv((folder / "rows.csv").read_text(encoding="utf-8"))]
        runs = sorted(
            (_run(folder) for folder in folders), key=lambda r: (natural(r["method"]), natural(r["seed"]), r["cell"])
        )
        files.atomic_write(store.root / "spec.csv", to_csv(_spec_rows(store, cells[0]), SPEC_COLUMNS))
        files.atomic_write(store.root / "runs.csv", to_csv(runs, RUN_COLUMNS))
        files.atomic_write(path, tidy(metrics))
    return path


def _belonging(store: Store, cells: list[Cell], warn: Callable[[str], None]) -> list[Path]:
    planned = {cell.id for cell in cells}
    covered = {(cell.seed, cell.method) for cell in cells}
    folders = []
    for folder in store.finished():
        if why := fault(folder):
            warn(f"the stored cell {folder.name} is damaged ({why}) and left out; repeat its command to repair it")
            continue
        stored = read_json(folder / "cell.json")
        other = stored["version"] == cells[0].version and (stored["seed"], stored["method"]) not in covered
        if folder.name in planned or other:
            folders.append(folder)
    return folders


def _run(folder: Path) -> dict[str, str]:
    cell, ran = read_json(folder / "cell.json"), read_json(folder / "provenance.json")
    row: dict[str, Any] = {key: cell[key] for key in ("paper", "setting", "scale", "seed", "method", "version")}
    row |= {key: ran.get(key, "") for key in RUN_COLUMNS if key not in row}
    row |= {"cell": folder.name, "facts": json.dumps(ran.get("facts", {}), sort_keys=True)}
    return {key: str(row[key]) for key in RUN_COLUMNS}


def _spec_rows(store: Store, cell: Cell) -> list[dict[str, str]]:
    columns = {"paper": cell.paper, "setting": cell.setting, "scale": cell.scale}
    leaves = stored_spec.flatten(stored_spec.read(store) or {})
    return [{**columns, "key": key, "value": value} for key, value in sorted(leaves.items())]
