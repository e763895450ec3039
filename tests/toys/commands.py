"""The real commands, run on a toy in this process, and the rows that they leave."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fedlab_cli.main import main

_EMPTY = {name: ["", "nan"] for name in ("round", "n", "value")}


def command(paper: str, config: Path, out: Path, *more: str) -> int:
    """Run `fedlab <paper>` on the spec `config` at smoke, on one thread, quietly; the exit code."""
    return main([paper, "--config", str(config), "--out", str(out), "--device", "cpu", "--scale", "smoke", "--quiet",
                 "--jobs", "1", *more])  # fmt: skip


def metrics(out: Path) -> pd.DataFrame:
    """The one metrics.csv under `out`; empty words are empty, and empty numbers missing."""
    (path,) = out.rglob("metrics.csv")
    return pd.read_csv(path, dtype={"round": "Int64"}, keep_default_na=False, na_values=_EMPTY)
