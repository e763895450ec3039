"""Effects with intervals over seeds: what every claim's numbers are made of. Plain numbers in, plain numbers out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.core.subject import subject

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Effect:
    """A mean over seeds, its interval [low, high] (NaN from one seed) and n, the number of seeds."""

    value: float
    low: float
    high: float
    n: int


def over_seeds(values: Iterable[float]) -> Effect:
    """The mean of a number a seed with Student's 95 % interval, mean ± t s / sqrt(n) (Student 1908).

    Values that are not finite do not count; NaN without any.
    """
    known = np.array([float(v) for v in values], dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return Effect(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Effect(mean, math.nan, math.nan, 1)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(known) - 1)) * float(known.std(ddof=1)) / math.sqrt(len(known))
    return Effect(mean, mean - reach, mean + reach, len(known))


def line(claim: str, effect: Effect, unit: str, **what: object) -> dict[str, Any]:
    """A line of the table of claims: claim, what (a subject of the words `what`), value, low, high, n, unit."""
    told = {key: value for key, value in what.items() if value != ""}
    return {
        "claim": claim, "what": subject(**told), "value": effect.value, "low": effect.low, "high": effect.high,
        "n": effect.n, "unit": unit,
    }  # fmt: skip


def count(value: float, n: int) -> Effect:
    """A number that has no interval, such as a share of n."""
    return Effect(value, math.nan, math.nan, n)


def by_seed(runs: pd.DataFrame, column: str) -> pd.Series:
    """Seed -> the mean of `column` over the rows of that seed, NaN left out."""
    return runs[runs[column].notna()].groupby("seed")[column].mean()


def paired(ours: pd.Series, other: pd.Series) -> pd.Series:
    """`ours` less `other` of the same seed; seeds that only one has are left out."""
    return (ours - other).dropna()


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """The least-squares slope of y over x; NaN without two different finite x."""
    a, b = np.array([*x], dtype=float), np.array([*y], dtype=float)
    usable = np.isfinite(a) & np.isfinite(b)
    a, b = a[usable], b[usable]
    if len(set(a.tolist())) < 2:
        return math.nan
    centred = a - a.mean()
    return float((centred * (b - b.mean())).sum() / (centred**2).sum())


def rank_correlation(x: Iterable[float], y: Iterable[float]) -> float:
    """Spearman's correlation of at least three pairs; NaN of fewer, or of equal values."""
    a, b = np.array([*x], dtype=float), np.array([*y], dtype=float)
    usable = np.isfinite(a) & np.isfinite(b)
    a, b = a[usable], b[usable]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(stats.spearmanr(a, b).statistic)
