"""What a cell stores beside its rows: scores.npz, all scores and the images that a grid may show."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.study.removal import ranked
from experiments.core.sweep import files
from experiments.core.sweep.cell import Context
from experiments.vog.study import Study

FILE = "scores.npz"
"""In a cell's folder."""


def keep_scores(study: Study) -> None:
    """Write scores.npz.

    Arrays: `methods` [M] names, `raw` [M, n] float32, `labels` [n], `flipped` [n] bool, `classes` (their number),
    `steps` [K] rounds of the checkpoints, `scaling` within classes; of images also `image_rows` [m] and `images`
    [m, C, H, W] uint8.
    """
    labels = study.labels.numpy()
    raw = np.stack([scores.numpy() for scores in study.raw.values()])
    arrays = {
        "methods": np.array(list(study.raw)),
        "raw": raw.astype(np.float32),
        "labels": labels.astype(np.int64),
        "flipped": study.flipped.numpy(),
        "classes": np.array(study.problem.federation.classes),
        "steps": np.array(study.spec.kept()),
        "scaling": np.array(study.spec.scaling),
        **_images(study, labels),
    }
    write_arrays(study.context, FILE, arrays)


def write_arrays(context: Context, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a compressed file of named arrays into the cell's folder."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    files.atomic_write(context.folder / name, out.getvalue())


def _images(study: Study, labels: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    """The images that a grid of highest or lowest scores shows, of a class or of all; none of other data."""
    x, most = study.problem.federation.x, study.spec.images
    if not most or x.dim() != 4:
        return {}
    found = set[int]()
    for scores in study.raw.values():
        kept = scores.float()  # as it is stored, so that what is read from the file has the same order
        found |= shown(study.scaled(kept), kept.numpy(), labels, most)
    rows = sorted(found)
    return {"image_rows": np.array(rows), "images": pixels(x[rows], x)}


def shown(scores: NDArray[np.float64], raw: NDArray[np.floating], labels: NDArray[np.int64], most: int) -> set[int]:
    """Rows of the `most` highest and lowest scaled scores [n] of each class, and of all; ties by the raw score."""
    found: set[int] = set()
    for rows in [np.arange(len(labels)), *(np.flatnonzero(labels == label) for label in np.unique(labels))]:
        for largest in (True, False):
            found |= set(rows[ranked(scores[rows], raw[rows], largest=largest)[:most]].tolist())
    return found


def pixels(images: Tensor, of: Tensor) -> NDArray[np.uint8]:
    """Images [m, C, H, W] as bytes: each channel's range in all data `of` [n, C, H, W] becomes 0 to 255.

    Images of 0 to 255 that were shifted and scaled by channel get their own bytes back, where both ends occur.
    """
    channels = of.movedim(1, 0).flatten(1)
    low, high = channels.amin(1), channels.amax(1)
    wide = (high - low).clamp(min=1e-12)
    scaled = (images - low[:, None, None]) / wide[:, None, None] * 255
    return np.asarray(scaled.round().clamp(0, 255).cpu().numpy().astype(np.uint8))
