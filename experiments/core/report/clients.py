"""The clients of a setting as its cells keep them: number, name, size, labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.core.names import are_numbered
from experiments.core.report.artefacts import Artefact
from experiments.core.sweep.files import CLIENTS
from experiments.core.sweep.whole import read_json

_CAPTION = "The clients: the number that options take as #number, the name, training samples, and those of each class."


def clients(folders: Sequence[Path], setting: str, name: str) -> Artefact | None:
    """The clients that have names of their own, once where all cells of `setting` have the same; else cell by cell.

    Clients that a partition deals are merely numbered, and others in every seed: their cells' own files tell of them.
    """
    import pandas as pd

    cells_by_content: dict[str, list[Path]] = {}
    for folder in folders:
        cell = read_json(folder / "cell.json") or {}
        if cell.get("setting") == setting and (folder / CLIENTS).is_file():
            cells_by_content.setdefault((folder / CLIENTS).read_text(encoding="utf-8"), []).append(folder)
    frames = []
    for cells in cells_by_content.values():
        frame = pd.read_csv(cells[0] / CLIENTS, dtype={"name": str}, keep_default_na=False)
        if not are_numbered(frame["name"].tolist()):
            where = {"cell": " ".join(cell.name for cell in cells)} if len(cells_by_content) > 1 else {}
            frames.append(frame.assign(setting=setting, **where))
    if not frames:
        return None
    joined = pd.concat(frames, ignore_index=True)
    first = [column for column in ("setting", "cell") if column in joined]
    return Artefact(name, joined[[*first, *(c for c in joined if c not in first)]], caption=_CAPTION)
