"""Making `mnist_by_writer` from MNIST and QMNIST's writer ids."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.data.idx import read_idx
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

# Of the unpacked JSON: compressed bytes differ between zlib versions.
SHA256 = {
    "train": "208e5c95582c0d2bb6d1d607d877ddab99065fade0170a608a4eac66f40fff55",
    "test": "ffc9d8b8089939ff1d885d3a0d28508768b03e75f0355406248fa153619b1685",
}


def build(data_dir: Path, train: Path, test: Path) -> None:
    """Write both files: 150 of the 514 writers with at least 80 digits, each split 90/10; bytes are reproducible.

    Raises:
        MissingError, SpecError: MNIST or QMNIST's labels are missing or damaged, or the disk is full.
    """
    images = read_idx(data_dir / "MNIST/raw/train-images-idx3-ubyte.gz").reshape(-1, 784)
    labels = read_idx(data_dir / "QMNIST/raw/qmnist-train-labels-idx2-int.gz")
    for target, (part, content) in zip((train, test), by_writer(images, labels).items(), strict=True):
        raw = json.dumps(content).encode()
        if hashlib.sha256(raw).hexdigest() != SHA256[part]:
            raise SpecError(f"the {part} part came out differently from the published one", str(target), "report this")
        _write(target, gzip.compress(raw, mtime=0))


def by_writer(images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """LEAF content of both parts: images [60000, 784] uint8; labels [60000, 8]: class in column 0, writer 2, rank 3."""
    import numpy as np

    writers, counts = np.unique(labels[:, 2], return_counts=True)
    # RandomState, not a named stream: the published subset was drawn with it.
    rng = np.random.RandomState(20240501)
    parts: dict[str, dict[str, Any]] = {p: {"users": [], "num_samples": [], "user_data": {}} for p in ("train", "test")}
    for writer in np.sort(rng.choice(writers[counts >= 80], 150, replace=False)).tolist():
        rows = np.flatnonzero(labels[:, 2] == writer)
        rows = rng.permutation(rows[np.argsort(labels[rows, 3])])  # column 3: the order in which the writer wrote them
        cut = round(0.9 * len(rows))
        for part, part_rows in (("train", rows[:cut]), ("test", rows[cut:])):
            user = f"writer_{writer:04d}"
            parts[part]["users"].append(user)
            parts[part]["num_samples"].append(len(part_rows))
            pixels = np.round(1 - images[part_rows] / 255, 4).tolist()
            parts[part]["user_data"][user] = {"x": pixels, "y": labels[part_rows, 0].tolist()}
    return parts


def _write(target: Path, raw: bytes) -> None:
    """Write to a temporary file, then rename it to `target`."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(raw)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MissingError(
            f"cannot write the file ({error.strerror})", str(target), "make room or choose another folder"
        ) from error
