"""Correlation of estimates with truths, with intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.core.engine.seeds import stream

Interval = Literal["fisher", "bootstrap"]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A coefficient in [-1, 1], its interval [low, high], and n, the number of pairs. NaN where undefined."""

    value: float
    low: float
    high: float
    n: int


def pearson(
    x: ArrayLike, y: ArrayLike, confidence: float = 0.95, interval: Interval = "fisher", seed: int = 0,
    resamples: int = 2000,
) -> Correlation:  # fmt: skip
    """Pearson's r of n pairs.

    The Fisher interval is tanh(artanh r ± z / sqrt(n - 3)) (Fisher 1921), the whole of [-1, 1] for n = 3. The bootstrap
    interval holds the percentiles of r over pairs drawn with replacement (Efron 1979), from a stream named by `seed`.

    Returns:
        NaN throughout when x or y is constant or holds anything not finite (a diverged estimate has no correlation).

    Raises:
        ValueError: fewer than 3 pairs, x and y of different lengths, an unknown interval, a confidence outside (0, 1).
    """
    return _correlation("pearson", x, y, confidence, interval, seed, resamples)


def spearman(
    x: ArrayLike, y: ArrayLike, confidence: float = 0.95, interval: Interval = "fisher", seed: int = 0,
    resamples: int = 2000,
) -> Correlation:  # fmt: skip
    """Spearman's rank correlation of n pairs, ties at their mean rank.

    As `pearson`, of the ranks; the Fisher interval uses the variance (1 + r²/2) / (n - 3) (Bonett and Wright 2000).
    """
    return _correlation("spearman", x, y, confidence, interval, seed, resamples)


def _correlation(
    name: str, x: ArrayLike, y: ArrayLike, confidence: float, interval: str, seed: int, resamples: int
) -> Correlation:
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}")
    if len(a) < 3:
        raise ValueError(f"a correlation needs at least 3 pairs, got {len(a)}")
    if not 0 < confidence < 1 or interval not in ("fisher", "bootstrap"):
        raise ValueError(f"confidence {confidence} must lie in (0, 1); interval {interval!r} be fisher or bootstrap")
    value = _coefficient(name, a, b)
    if math.isnan(value):
        return Correlation(math.nan, math.nan, math.nan, len(a))
    if interval == "bootstrap":
        low, high = _bootstrap(name, a, b, confidence, seed, resamples)
    else:
        low, high = _fisher(name, value, len(a), confidence)
    return Correlation(value, low, high, len(a))


def _coefficient(name: str, a: _Floats, b: _Floats) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    known: dict[str, Callable[..., object]] = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    with warnings.catch_warnings():
        # Nearly constant estimates are no reason to stop: the number is what it is, and n stands beside it.
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return float(known[name](a, b).statistic)  # type: ignore[attr-defined]


def _fisher(name: str, r: float, n: int, confidence: float) -> tuple[float, float]:
    if n == 3:
        return -1.0, 1.0
    if abs(r) >= 1:
        return r, r
    variance = (1 + r * r / 2 if name == "spearman" else 1.0) / (n - 3)
    reach = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)


def _bootstrap(name: str, a: _Floats, b: _Floats, confidence: float, seed: int, resamples: int) -> tuple[float, float]:
    drawn = stream(seed, "bootstrap", score=name).integers(len(a), size=(resamples, len(a)))
    first, second = a[drawn], b[drawn]
    if name == "spearman":
        first, second = stats.rankdata(first, axis=1), stats.rankdata(second, axis=1)
    first, second = (v - v.mean(1, keepdims=True) for v in (first, second))
    spread = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    usable = spread > 0  # a resample of one value over and over has no correlation
    if not usable.any():
        return math.nan, math.nan
    values = (first * second).sum(1)[usable] / spread[usable]
    tail = (1 - confidence) / 2
    low, high = np.clip(np.quantile(values, [tail, 1 - tail]), -1, 1)
    return float(low), float(high)
