"""What reports read under the runs folder: merged tables and cells' folders; what is damaged is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import clean
from experiments.core.paper import Paper
from experiments.core.sweep.cell import COLUMNS
from experiments.core.sweep.merge import RUN_COLUMNS, SPEC_COLUMNS
from experiments.core.sweep.whole import fault

if TYPE_CHECKING:
    import pandas as pd

Warn = Callable[[str], None]
"""Told in one line what is left out, and why."""

_NUMBERS = {
    "metrics.csv": {"seed", "round", "value", "n"},
    "runs.csv": {"seed", "version", "worlds", "wall_s", "starts", "peak_memory", "threads"},
    "spec.csv": set[str](),
}
_COLUMNS = {"metrics.csv": COLUMNS, "runs.csv": RUN_COLUMNS, "spec.csv": SPEC_COLUMNS}


def silent(line: str) -> None:
    """Tell nobody."""


def all_of(out: Path, paper: str, scale: str) -> list[Path]:
    """The settings' folders of `paper` at `scale`, finished or not, sorted by name."""
    return sorted(f for f in (out / paper).glob(f"*-{scale}") if f.is_dir())


def settings_of(out: Path, paper: Paper, scale: str, warn: Warn = silent) -> list[Path]:
    """The settings' folders of `paper` that have tables at `scale`, sorted by name.

    Damaged ones are left out, and those of another version of the paper's code, whose rows have other names.
    """
    ended = [folder for folder in all_of(out, paper.name, scale) if (folder / "metrics.csv").exists()]
    return [folder for folder in ended if _sound(folder, warn) and _current(folder, paper, warn)]


def cells_of(settings: list[Path], warn: Warn = silent) -> list[Path]:
    """The folders of the finished cells whose rows stand in the tables of `settings`; damaged ones are left out."""
    with_runs = [setting for setting in settings if (setting / "runs.csv").is_file()]
    folders = sorted(setting / cell for setting in with_runs for cell in read([setting], "runs.csv")["cell"])
    sound = []
    for folder in folders:
        why = fault(folder) if (folder / "DONE").is_file() else ""
        if why:
            warn(f"{folder.parent.name}/{folder.name} is damaged ({why}) and left out; the setting's command mends it")
        elif (folder / "DONE").is_file():
            sound.append(folder)
    return sound


def read(folders: list[Path], name: str) -> pd.DataFrame:
    """The table `name` (metrics.csv, runs.csv or spec.csv) of all `folders` in one frame.

    Text columns hold text ("" when empty); those of _NUMBERS are numbers (NaN when empty).

    Raises:
        OSError, ValueError: a table cannot be read.
    """
    import pandas as pd

    full = [frame for frame in (_read(folder / name) for folder in folders) if len(frame)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=list(_COLUMNS[name]))


def _read(path: Path) -> pd.DataFrame:
    """One table.

    Raises:
        OSError: there is none. ValueError: it lacks a column, or holds words for numbers.
    """
    import pandas as pd

    columns, numbers = _COLUMNS[path.name], _NUMBERS[path.name]
    types = {c: str for c in columns if c not in numbers}
    missing = {c: ["", "nan"] for c in numbers}
    frame = clean.meant_by(pd.read_csv(path, dtype=types, na_values=missing, keep_default_na=False))
    if not set(columns) <= set(frame.columns) or any(frame[c].dtype.kind not in "iuf" for c in numbers if len(frame)):
        raise ValueError("other columns, or words for numbers")
    return frame


def _current(folder: Path, paper: Paper, warn: Warn) -> bool:
    other = set(read([folder], "runs.csv")["version"]) - {paper.version}
    if other:
        warn(f"{folder.name} is of another version of {paper.name}: left out; repeat the setting's command")
    return not other


def _sound(folder: Path, warn: Warn) -> bool:
    try:
        for name in _COLUMNS:
            _read(folder / name)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        warn(f"{folder.name}/{name} cannot be read ({first}): left out; the setting's command writes it anew")
        return False
    return True
