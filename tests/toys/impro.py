"""A small network on scikit-learn's digits and a few rounds, measured as `fedlab impro` does."""

from __future__ import annotations

import json

from experiments.impro.spec import ImproSpec

SPEC = {
    "paper": "impro",
    "data": {"kind": "sklearn_digits", "outputs": 10, "copies": 1},
    "partition": {"kind": "dirichlet", "clients": 8, "alpha": 1.0, "min_size": 8},
    "model": {"kind": "mlp", "hidden": [12]},
    "init": "default",
    "dtype": "float64",
    "formulation": "looped",
    "local": {"lr": 0.02, "epochs": 2, "batch_size": 16},
    "rounds": 4,
    "clients_per_round": 3,
    "evaluate_every": 1,
    "checkpoint_seconds": 0.0001,
}


def spec(**more: object) -> ImproSpec:
    """The spec, not from a file; `more` replaces its keys."""
    return ImproSpec.model_validate_json(json.dumps({**SPEC, "name": "tiny", "scale": "smoke", **more}))
