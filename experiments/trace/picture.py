"""The data for a picture of traced predictions: inputs.npz, one a cell, of the last round in which any were traced."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.core.engine.federation import Federation
from experiments.core.spec.fields import DataSpec
from experiments.core.sweep import files
from experiments.core.sweep.cell import Context

PictureData = dict[str, Any]
"""Tensors and plain values of one round: round, scope, sample, predicted [n]; clients [K]; scores, raw, fall [n, K]."""


def keep_inputs(
    picture: PictureData, federation: Federation, label_counts: torch.Tensor, data: DataSpec, context: Context
) -> None:
    """Write inputs.npz into the cell's folder.

    Arrays: round; scope [n]; images [n, C, H, W] (or texts [n]); label, predicted [n]; clients [K], names [K];
    scores [n, K] (normalised), raw [n, K] (T_k), truth [n, K] (fall of the predicted logit without k; absent without
    truth); histogram [K, classes], sizes [K], faulty [K].
    """
    rows, clients = torch.tensor(picture["sample"]), picture["clients"]
    arrays: dict[str, NDArray[Any]] = {
        "round": np.array(picture["round"]),
        "scope": np.array(picture["scope"]),
        "label": federation.test_y[rows].cpu().numpy(),
        "predicted": np.array(picture["predicted"]),
        "clients": np.array(clients),
        "names": np.array([federation.clients[k] for k in clients]),
        "scores": picture["scores"].cpu().numpy(),
        "raw": picture["raw"].cpu().numpy(),
        "histogram": label_counts[clients].cpu().numpy(),
        "sizes": np.array([federation.sizes[k] for k in clients]),
        "faulty": np.array(picture["faulty"]),
    }
    if picture["fall"] is not None:
        arrays["truth"] = picture["fall"].cpu().numpy()
    x = federation.test_x[rows].cpu()
    if x.dim() == 4:
        arrays["images"] = x.float().numpy()
    elif hasattr(data, "decode"):
        arrays["texts"] = np.array([data.decode(ids.tolist(), context.data_dir) for ids in x])
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    files.atomic_write(context.folder / "inputs.npz", out.getvalue())
