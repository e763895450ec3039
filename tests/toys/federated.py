"""A setting of twenty clients and a few rounds, and the real commands run on it in this process."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from tests.toys.commands import command, metrics

__all__ = ["SPEC", "command", "loaded", "metrics", "value", "write"]

SPEC = {
    "data": {"kind": "leaf_synthetic", "clients": 20, "max_samples": 40},
    "partition": {"kind": "natural"},
    "model": {"kind": "leaf_logreg"},
    "local": {"lr": 0.3, "steps": 2},
    "rounds": 6,
    "clients_per_round": 6,
    "dtype": "float64",
    "evaluate_every": 2,
    "formulation": "dense",
    "checkpoint_seconds": 0.001,
}
INFLUENCE = {
    "paper": "influence",
    "gradients": 5,
    "variants": ["basic", "lwet_fisher"],
    "cleansing": {"round": 4, "fractions": [0, 0.02, 0.1, 0.3]},
    "ranking_interval": 3,
}


def write(folder: Path, name: str = "tiny", paper: str = "influence", **more: object) -> Path:
    """The spec as a file; `more` replaces its keys."""
    path = folder / f"{name}.yaml"
    own = INFLUENCE if paper == "influence" else {"paper": "train"}
    path.write_text(yaml.safe_dump({**SPEC, **own, **more}))
    return path


def loaded(path: Path, scale: str = "smoke", *overrides: str):
    return load(path, scale=scale, overrides=read_overrides(overrides)).spec


def value(frame: pd.DataFrame, **keys: object) -> float:
    """The value of the one row with these keys."""
    rows = frame
    for key, wanted in keys.items():
        rows = rows[rows[key].astype(str) == str(wanted)]
    (found,) = rows["value"]
    return float(found)
