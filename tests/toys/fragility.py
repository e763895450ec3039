"""A small dense network on Iris and a few steps, and the real command run on it in this process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.fragility.spec import FragilitySpec
from tests.toys.commands import command as run
from tests.toys.commands import metrics

__all__ = ["SPEC", "command", "loaded", "metrics", "spec", "values", "write"]

SPEC = {
    "paper": "fragility",
    "data": {"kind": "iris"},
    "model": {"kind": "mlp", "hidden": [4], "activation": "tanh"},
    "dtype": "float64",
    "formulation": "dense",
    "weight_decay": 0.01,
    "train": {"optimizer": "lbfgs", "steps": 200},
    "retrain": {"method": "newton", "steps": 50},
    "removal": "n-1",
    "methods": ["exact"],
    "candidates": [{"pick": "top", "count": 12}],
    "checkpoint_seconds": 0.001,
}


def spec(**more: object) -> FragilitySpec:
    """The spec, not from a file; `more` replaces its keys."""
    return FragilitySpec.model_validate_json(json.dumps({**SPEC, "name": "tiny", "scale": "smoke", **more}))


def write(folder: Path, name: str = "tiny", **more: object) -> Path:
    """The spec as a file; `more` replaces its keys."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **more}))
    return path


def loaded(path: Path, *overrides: str) -> FragilitySpec:
    return load(path, "fragility", "smoke", read_overrides(overrides)).spec


command = partial(run, "fragility")


def values(frame: pd.DataFrame, method: str, metric: str) -> dict[str, float]:
    """Subject -> value."""
    rows = frame[(frame["method"] == method) & (frame["metric"] == metric)]
    return dict(zip(rows["subject"], rows["value"].astype(float), strict=True))
