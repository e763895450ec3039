"""Pictures of test points and their most influential training samples (Figs. 9, 10, 12-14, 17)."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.study.central import label_of
from experiments.core.sweep import files
from experiments.core.sweep.cell import Context
from experiments.fragility.estimates import Estimate, Problem
from experiments.fragility.rows import Rows


def keep_images(rows: Rows, problem: Problem, tests: dict[str, int], first: Estimate, context: Context) -> None:
    """Write images.npz: `<point> test=<name>|test` and `...|train=<row>`, uint8 [H, W] or [H, W, 3], with label rows.

    The samples are those of largest |influence|. Data other than images give a warning and no file.
    """
    data = problem.data
    if data.x.dim() != 4:
        context.warn("images: these data are no images; none are kept")
        return
    images: dict[str, NDArray[np.uint8]] = {}
    recorded = {(row["method"], row["metric"], row["subject"]) for row in rows.rows}  # those of the candidates
    for (name, index), influence in zip(tests.items(), first.influence, strict=True):
        key = f"{rows.point} test={name}".lstrip()
        images[f"{key}|test"] = pixels(data.test_x[index])
        for i in np.argsort(-np.abs(influence), kind="stable")[: problem.spec.images].tolist():
            images[f"{key}|train={i}"] = pixels(data.x[i])
            rows.add("data", "label", label_of(data.y[i]), test=name, train=i)
            if (first.method, "influence", f"{key} train={i}") not in recorded:
                rows.add(first.method, "influence", influence[i], "nats", test=name, train=i)
        for rank, value in enumerate(np.sort(influence)[::-1][: problem.spec.images].tolist(), 1):
            rows.add(first.method, "influence_of_rank", value, "nats", test=name, place=rank)
    out = io.BytesIO()
    np.savez_compressed(out, **images)  # type: ignore[arg-type]
    files.atomic_write(context.folder / "images.npz", out.getvalue())


def pixels(x: Tensor) -> NDArray[np.uint8]:
    """An image [C, H, W] as bytes, stretched to its range of values where that is not within 0..1 (normalised data)."""
    image = x.double().cpu().numpy()
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
    scaled = np.rint((image - low) / (high - low) * 255).astype(np.uint8)
    return scaled[0] if len(scaled) == 1 else np.moveaxis(scaled[:3], 0, 2)
