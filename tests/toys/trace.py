"""A small network on scikit-learn's digits and a few rounds."""

from __future__ import annotations

import json

from experiments.trace.spec import TraceSpec

SPEC = {
    "paper": "trace",
    "data": {"kind": "sklearn_digits", "outputs": 10, "copies": 1},
    "partition": {"kind": "dirichlet_balanced", "clients": 8, "alpha": 0.3, "min_label": 2, "min_size": 8},
    "model": {"kind": "mlp", "hidden": [12]},
    "init": "default",
    "dtype": "float64",
    "formulation": "looped",
    "local": {"optimizer": "adam", "lr": 0.01, "epochs": 2, "batch_size": 16},
    "rounds": 4,
    "clients_per_round": 4,
    "evaluate_every": 1,
    "inputs": {"among": 120},
    "checkpoint_seconds": 0.0001,
}


def spec(**more: object) -> TraceSpec:
    """The spec, not from a file; `more` replaces its keys."""
    return TraceSpec.model_validate_json(json.dumps({**SPEC, "name": "tiny", "scale": "smoke", **more}))
