"""Runs that have not come to their end: what their checkpointed rows say so far, never mixed with finished results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import clean
from experiments.core.report.stored import Warn, silent
from experiments.core.sweep.store import PARTIAL

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
_SUMMARY = ("counted", "test")


def unfinished(out: Path, paper: str, scale: str, warn: Warn = silent) -> pd.DataFrame:
    """The summary numbers of every unfinished cell at the round it has reached, in COLUMNS; no damaged one."""
    import pandas as pd

    frames = []
    for path in sorted((out / paper).glob(f"*-{scale}/*.work/{PARTIAL}")):
        try:
            frames.append(_reached(path))
        except (OSError, ValueError, KeyError, TypeError):
            warn(f"{path.parent.name}/{path.name} cannot be read: left out of the unfinished cells")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def _reached(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows = clean.meant_by(pd.read_csv(path, keep_default_na=False, na_values={"round": [""], "n": [""]}))
    rounds = rows[(rows["metric"] == "config") & (rows["subject"] == "rounds")]["value"]
    reached = rows["round"].max()
    last = rows[(rows["round"] == reached) & rows["subject"].isin(_SUMMARY)].copy()
    last["reached"] = int(reached)
    last["rounds"] = int(rounds.iloc[0]) if len(rounds) else pd.NA
    return last[list(COLUMNS)]


def summary(frame: pd.DataFrame) -> list[str]:
    """One Markdown line per unfinished cell, from a published unfinished.csv."""
    lines = []
    for (setting, seed), rows in frame.groupby(["setting", "seed"], sort=True):
        first = rows.iloc[0]
        told = [
            f"{r['method']} {r['metric']} {float(r['value']):.3g}"
            for _, r in rows.iterrows()
            if str(r["metric"]) in ("pearson_fil", "spearman_fil", "accuracy")
        ]
        lines.append(f"- {setting}, seed {seed}: round {first['reached']} of {first['rounds']}; " + ", ".join(told))
    return lines
