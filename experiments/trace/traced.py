"""Reading the inputs.npz of a setting's cells: the predictions of one round that were traced, and the participants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.errors import MissingError
from experiments.core.report.stored_arrays import TODO, arrays_of

FILE = "inputs.npz"
_SHAPES = {
    "scope": "n", "label": "n", "predicted": "n", "clients": "K", "names": "K", "sizes": "K", "faulty": "K",
    "scores": "nK", "raw": "nK", "histogram": "KC",
}  # fmt: skip
_OPTIONAL = {"truth": "nK", "images": "nchw", "texts": "n"}


@dataclass(frozen=True)
class Traced:
    """The last traced round of a cell: n predictions, K participants, C classes.

    Attributes:
        point: the cell's point of the grid. round: which round.
        scope: [n] "correct" or "wrong". label, predicted: [n].
        clients: [K] numbers. names: [K]. sizes: [K] training samples. faulty: [K] bool.
        histogram: [K, C] training samples by label, as the client trained on them.
        scores: [n, K] normalised. raw: [n, K] before normalisation. truth: [n, K] fall of the predicted logit without
            the participant, or None.
        images: [n, channels, H, W] as the model sees them, or None. texts: [n], or None.
    """

    point: str
    round: int
    scope: NDArray[Any]
    label: NDArray[Any]
    predicted: NDArray[Any]
    clients: NDArray[Any]
    names: NDArray[Any]
    sizes: NDArray[Any]
    faulty: NDArray[Any]
    histogram: NDArray[Any]
    scores: NDArray[Any]
    raw: NDArray[Any]
    truth: NDArray[Any] | None
    images: NDArray[Any] | None
    texts: NDArray[Any] | None

    def ranking(self, i: int) -> NDArray[Any]:
        """[K] indices of the participants, most responsible for input i first, by `raw`: scores may all be 0 or 1."""
        return np.argsort(-self.raw[i], kind="stable")

    def right(self, i: int) -> NDArray[Any]:
        """[K] whether a participant may be named for input i: it holds the label, or is faulty."""
        holds_label: NDArray[Any] = self.histogram[:, self.label[i]] > 0
        return self.faulty.astype(bool) if self.scope[i] == "wrong" else holds_label

    def names_right(self, i: int) -> bool:
        """Whether the first-ranked participant is one that may be named."""
        return bool(self.right(i)[self.ranking(i)[0]])


def load(folders: Sequence[Path], setting: str, seed: int) -> dict[str, Traced]:
    """Point of the grid -> what its cell of `setting` and `seed` stored; cells without the file are left out.

    Raises:
        MissingError: a file cannot be read, or has other contents.
    """
    stored = arrays_of(folders, setting, seed, FILE, "the traced inputs")
    return {point: _checked(arrays, point, where) for point, where, arrays in stored}


def _checked(arrays: dict[str, NDArray[Any]], point: str, where: str) -> Traced:
    """The arrays as a `Traced`; all sizes must agree and labels must be classes."""
    sizes: dict[str, int] = {}
    for key, letters in {**_SHAPES, **_OPTIONAL}.items():
        if key not in arrays:
            if key in _SHAPES:
                raise MissingError(f"the traced inputs have no {key!r}", where, TODO)
            continue
        shape = arrays[key].shape
        if len(shape) != len(letters) or any(sizes.setdefault(a, s) != s for a, s in zip(letters, shape, strict=True)):
            raise MissingError(f"{key!r} of the traced inputs has shape {list(shape)}, not [{letters}]", where, TODO)
    if not sizes["n"] or max(arrays["label"].max(), arrays["predicted"].max()) >= sizes["C"]:
        raise MissingError("the traced inputs name a class that the histograms do not have, or none", where, TODO)
    known = {key: arrays.get(key) for key in (*_SHAPES, *_OPTIONAL)}
    return Traced(point=point, round=int(arrays.get("round", np.array(0))), **known)  # type: ignore[arg-type]
