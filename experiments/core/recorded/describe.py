"""What `fedlab train --record` writes beside the recorded rounds: the description of the run, and inputs to trace."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from experiments.core.engine.federation import Federation
from experiments.core.recorded.run_file import INPUTS_FILE, RUN_FILE
from experiments.core.spec.fields import RunSpec
from experiments.core.sweep import files

INPUTS = 32
"""Test samples kept as inputs.npz."""


def describe(spec: RunSpec, federation: Federation, folder: Path) -> None:
    """Write run.yaml and inputs.npz (the first test samples as the model sees them) into `folder`.

    A model of the user's own is left out of run.yaml: it is named on the command line only.
    """
    record: dict[str, Any] = {} if spec.model.kind == "custom" else {"model": spec.model.model_dump(mode="json")}
    record |= {"classes": federation.classes, "shape": list(federation.x.shape[1:])}
    if federation.scale is not None:
        record["mean"], record["deviation"] = map(list, federation.scale)
    record["sizes"] = {str(k): n for k, n in enumerate(federation.sizes)}
    if any(name != str(k) for k, name in enumerate(federation.clients)):
        record["clients"] = {str(k): name for k, name in enumerate(federation.clients)}
    head = "# What `fedlab trace --run` needs to know of the rounds recorded here.\n"
    if "model" not in record:
        head += f"# The model is named on the command line: --model {spec.model.factory}\n"
    files.atomic_write(folder / RUN_FILE, head + yaml.safe_dump(record, sort_keys=False, default_flow_style=None))
    files.atomic_write(folder / INPUTS_FILE, _inputs(federation))


def _inputs(federation: Federation) -> bytes:
    """The first test samples and their labels as an npz file."""
    x, y = (tensor[:INPUTS].cpu() for tensor in (federation.test_x, federation.test_y))
    held = io.BytesIO()
    np.savez_compressed(held, inputs=x.numpy(), labels=(y.argmax(1) if y.is_floating_point() else y).numpy())
    return held.getvalue()
