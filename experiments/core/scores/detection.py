"""How well scores tell planted faults from the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Detection:
    """The area under the ROC curve in [0, 1], its interval [low, high], and n, all samples. NaN where undefined."""

    value: float
    low: float
    high: float
    n: int


def auroc(scores: ArrayLike, positive: ArrayLike, confidence: float = 0.95) -> Detection:
    """The probability that a positive sample has a higher score than another, ties counting half.

    The interval is by the variance of Hanley and McNeil (1982), cut at 0 and 1.

    Args:
        scores: [n], finite. positive: [n] bool.

    Raises:
        ValueError: other lengths, or scores that are not finite.
    """
    from sklearn.metrics import roc_auc_score

    values, is_one = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != is_one.shape or not np.isfinite(values).all():
        raise ValueError(f"scores of shape {values.shape}, finite, and positives of shape {is_one.shape} are compared")
    ones, others = int(is_one.sum()), int((~is_one).sum())
    if not ones or not others:
        return Detection(math.nan, math.nan, math.nan, len(values))
    a = float(roc_auc_score(is_one, values))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)  # of two ones above another, of a one above two others
    variance = (a * (1 - a) + (ones - 1) * (q1 - a * a) + (others - 1) * (q2 - a * a)) / (ones * others)
    reach = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt(max(0.0, variance))
    return Detection(a, max(0.0, a - reach), min(1.0, a + reach), len(values))
