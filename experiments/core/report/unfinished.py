"""Cells that have not come to their end: what their rows say so far, never mixed with finished results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import clean
from experiments.core.paper import Paper
from experiments.core.report.progress import ROWS, Progress
from experiments.core.report.stored import Warn, silent
from experiments.core.sweep.store import PARTIAL
from experiments.core.sweep.whole import read_json

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "paper",
    "setting",
    "scale",
    "seed",
    "reached",
    "rounds",
    "dataset",
    "method",
    "metric",
    "value",
    "n",
    "unit",
)


def progress_of(paper: Paper) -> Progress:
    """What `paper` says of its unfinished cells."""
    if not paper.progress:
        return ROWS
    progress: Progress = paper.resolve("progress")
    return progress


def unfinished(out: Path, paper: Paper, scale: str, warn: Warn = silent) -> pd.DataFrame:
    """What every unfinished cell of `paper` reports so far, in COLUMNS; a damaged one is left out with a warning."""
    import pandas as pd

    frames, progress = [], progress_of(paper)
    for path in sorted((out / paper.name).glob(f"*-{scale}/*.work/{PARTIAL}")):
        try:
            frames.append(_reported(path, progress))
        except Exception:  # rows of half a cell can lack anything: no fault of theirs may stop the other reports
            warn(f"{path.parent.name}/{path.name} cannot be read: left out of the unfinished cells")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def _reported(path: Path, progress: Progress) -> pd.DataFrame:
    import pandas as pd

    rows = clean.meant_by(pd.read_csv(path, keep_default_na=False, na_values={"round": [""], "n": [""]}))
    if rows.empty:
        raise ValueError("no rows")
    reported = progress.of(rows)
    frame = (reported if len(reported) else ROWS.of(rows))[list(COLUMNS)]
    point = frame["method"].where(frame["method"] != "", _point(path))
    return frame.assign(method=point, reached=frame["reached"].astype("Int64"), rounds=frame["rounds"].astype("Int64"))


def _point(path: Path) -> str:
    """The cell's own name within its setting and seed."""
    described = read_json(path.parent / "cell.json")
    return str(described["method"])


def summary(frame: pd.DataFrame, progress: Progress) -> list[str]:
    """Markdown lines of a published unfinished.csv, all values as text; cells that have come equally far share one."""
    lines = []
    for (setting, seed, reached, total), rows in frame.groupby(["setting", "seed", "reached", "rounds"], sort=True):
        scores = [
            " ".join(filter(None, (str(r["method"]), str(r["metric"]), f"{float(r['value']):.3g}")))
            for _, r in rows.iterrows()
            if str(r["metric"]) in (*progress.brief, *ROWS.brief)
        ]
        end = f" of {total}" if total else ""
        at = f"round {reached}{end}; " if reached else ""
        lines.append(f"- {setting}, seed {seed}: {at}" + ", ".join(scores))
    return lines
