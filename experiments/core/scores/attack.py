"""What an attack proves about epsilon: a lower bound from telling runs with one sample from runs without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Proven:
    """A lower bound on epsilon, which holds with the confidence that was asked for.

    Attributes:
        epsilon: the bound, 0 or more; the attack proves nothing where it is 0.
        tpr, fpr: shares of the tested runs with, and without, the sample that the attack says have it.
        runs: tested runs with the sample, and as many without. most: what so many can prove, if none is mistaken.
        threshold: evidence from which on the attack says so.
    """

    epsilon: float
    tpr: float
    fpr: float
    runs: int
    most: float
    threshold: float


def proven(present: ArrayLike, absent: ArrayLike, delta: float, confidence: float = 0.95) -> Proven:
    """The bound by thresholding one number a run (Jagielski et al. 2020; Nasr et al. 2021).

    Any (epsilon, delta)-private mechanism has 1 - fnr <= e^eps fpr + delta, and the same with the two exchanged
    (Kairouz et al. 2015). So epsilon is at least log((1 - delta - fnr) / fpr) and log((1 - delta - fpr) / fnr), with
    the upper ends of the intervals of Clopper and Pearson in place of both rates, each at half of 1 - `confidence`.
    The threshold is chosen on one half of the runs and tested on the other: chosen on all it would prove too much.

    Args:
        present, absent: [2m] evidence of independent runs with and without the sample; more speaks for it.

    Raises:
        ValueError: fewer than two runs of a kind, or evidence that is not finite.
    """
    pair = _pair(present, absent)
    return _proven(pair, confidence, lambda fnr, fpr: np.log(_ratio(fnr, fpr, delta)))


def proven_gaussian(present: ArrayLike, absent: ArrayLike, delta: float, confidence: float = 0.95) -> Proven:
    """The same for a mechanism that claims to be Gaussian: steps of all samples at once (Nasr et al. 2023).

    Then 1 - fnr <= Phi(Phi^-1(fpr) + mu) (Dong et al. 2022), so mu is at least Phi^-1(1 - fpr) - Phi^-1(fnr), and
    epsilon at `delta` follows from mu (Balle and Wang 2018, Theorem 8). Far more than `proven` finds with few runs;
    against a mechanism that is not Gaussian, a bound above the stated epsilon disproves nothing.
    """
    pair = _pair(present, absent)
    found = _proven(pair, confidence, lambda fnr, fpr: stats.norm.isf(fpr) - stats.norm.ppf(fnr))
    return replace(found, epsilon=epsilon_of(found.epsilon, delta), most=epsilon_of(found.most, delta))


def epsilon_of(mu: float, delta: float) -> float:
    """Epsilon at `delta` of a Gaussian mechanism whose outputs' means lie `mu` deviations apart; 0 where mu <= 0."""

    def spare(eps: float) -> float:
        tail = math.exp(eps + float(stats.norm.logcdf(-mu / 2 - eps / mu)))
        return float(stats.norm.cdf(mu / 2 - eps / mu)) - tail - delta

    if mu <= 0 or spare(0.0) <= 0:
        return 0.0
    return float(optimize.brentq(spare, 0.0, mu * mu / 2 + mu * float(stats.norm.isf(delta)) + 1, xtol=1e-9))


_Bound = Callable[[_Floats, _Floats], _Floats]
"""(fnr, fpr), upper ends -> what they prove."""


def _pair(present: ArrayLike, absent: ArrayLike) -> list[_Floats]:
    pair = [np.asarray(values, dtype=np.float64) for values in (present, absent)]
    if min(map(len, pair)) < 2 or not all(np.isfinite(values).all() for values in pair):
        raise ValueError("an attack takes two finite runs of each kind or more")
    return pair


def _proven(pair: list[_Floats], confidence: float, bound: _Bound) -> Proven:
    (chosen, tested), (chosen_absent, tested_absent) = ((values[::2], values[1::2]) for values in pair)
    level = (1 - confidence) / 2

    def proof(misses: _Floats, alarms: _Floats, present: int, absent: int) -> _Floats:
        return bound(upper_rate(misses, present, level), upper_rate(alarms, absent, level))

    candidates = np.unique(np.concatenate([chosen, chosen_absent]))
    bounds = proof(*_counts(chosen, chosen_absent, candidates), len(chosen), len(chosen_absent))
    threshold = float(candidates[int(np.argmax(bounds))])
    misses, alarms = _counts(tested, tested_absent, np.array([threshold]))
    m = len(tested), len(tested_absent)
    none = np.zeros(1)
    found, most = (max(0.0, float(proof(*counts, *m)[0])) for counts in ((misses, alarms), (none, none)))
    return Proven(found, 1 - float(misses[0]) / m[0], float(alarms[0]) / m[1], min(m), most, threshold)


def upper_rate(count: ArrayLike, n: int, level: float) -> _Floats:
    """The largest rate that `count` of n do not exclude at `level`, one-sided (Clopper and Pearson 1934)."""
    counts = np.asarray(count, dtype=np.float64)
    ends = stats.beta.ppf(1 - level, counts + 1, np.maximum(n - counts, 1e-9))
    return np.where(counts >= n, 1.0, ends)


def _counts(present: _Floats, absent: _Floats, thresholds: _Floats) -> tuple[_Floats, _Floats]:
    """Runs with the sample below each threshold, and runs without it from there on."""
    below = np.searchsorted(np.sort(present), thresholds, side="left")
    above = len(absent) - np.searchsorted(np.sort(absent), thresholds, side="left")
    return below.astype(np.float64), above.astype(np.float64)


def _ratio(fnr: _Floats, fpr: _Floats, delta: float) -> _Floats:
    return np.maximum((1 - delta - fnr).clip(1e-300) / fpr, (1 - delta - fpr).clip(1e-300) / fnr)


def log_ratio(inner: ArrayLike, norm: ArrayLike, rate: float, deviation: float) -> _Floats:
    """Log of p(o | the sample may be in it) / p(o | it is not) of a step of the sampled Gaussian mechanism.

    The strongest evidence there is where nothing but the sample's own clipped gradient c and noise lies along c.

    Args:
        inner: <o, c>, o the noisy sum of the step. norm: ||c||. rate: q. deviation: of the noise, sigma C.
    """
    exponent = (np.asarray(inner) - 0.5 * np.square(norm)) / deviation**2
    return np.logaddexp(_log(1 - rate), _log(rate) + exponent)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
