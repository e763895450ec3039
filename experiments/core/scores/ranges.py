"""Scores scaled within each class by ranges that whoever collects them knows beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranges:
    """The least and the greatest score of each class among samples that need no protection.

    Min-max scaling by a client's own range would tell its most extreme sample, and would make clients incomparable. By
    a range that all know, what a sample adds to its client's mean is bounded, whatever the sample.

    Attributes:
        low, high: [classes].
    """

    low: _Floats
    high: _Floats

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike, classes: int) -> Ranges | None:
        """The ranges of scores [m] with `labels` [m]; a class without one has that of all; None where all are equal."""
        raw, of = np.asarray(scores, dtype=np.float64), np.asarray(labels)
        if not len(raw) or np.ptp(raw) == 0:
            return None
        low, high = np.full(classes, raw.min()), np.full(classes, raw.max())
        for label in np.unique(of):
            part = raw[of == label]
            if np.ptp(part):
                low[label], high[label] = part.min(), part.max()
        return cls(low, high)

    def scaled(self, scores: ArrayLike, labels: ArrayLike) -> _Floats:
        """Scores [n] with `labels` [n] in [0, 1]: 0 and below at the class's least, 1 and above at its greatest."""
        raw, of = np.asarray(scores, dtype=np.float64), np.asarray(labels)
        return np.clip((raw - self.low[of]) / (self.high[of] - self.low[of]), 0, 1)
