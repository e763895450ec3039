"""A small network on scikit-learn's digits, trained centrally and scored as `fedlab vog` does."""

from __future__ import annotations

import json

from experiments.vog.spec import VogSpec

SPEC = {
    "paper": "vog",
    "data": {"kind": "sklearn_digits", "outputs": 10, "copies": 1, "train_fraction": 0.2, "clients": 10},
    "partition": {"kind": "iid", "clients": 1, "split_seed": 0},
    "model": {"kind": "mlp", "hidden": [12]},
    "init": "default",
    "dtype": "float64",
    "formulation": "looped",
    "local": {"lr": 0.02, "epochs": 1, "batch_size": 32},
    "rounds": 4,
    "clients_per_round": 1,
    "evaluate_every": 1,
    "checkpoint_seconds": 0.0001,
    "methods": ["vog", "loss"],
    "images": 5,
}


def spec(**more: object) -> VogSpec:
    """The spec, not from a file; `more` replaces its keys."""
    return VogSpec.model_validate_json(json.dumps({**SPEC, "name": "tiny", "scale": "smoke", **more}))
