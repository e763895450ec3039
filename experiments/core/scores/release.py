"""Scores released with (epsilon, 0)-differential privacy: clipping, Laplace noise, and a variance query.

The paper on incentives only proposes this (section 4.7). What is protected is the data of the sample that a score
belongs to: who sees the released number can hardly tell what it is (replacement of that sample, everything else as it
is). The models behind the scores count as public: they are covered by the guarantee of their training, with which the
release composes (`engine.accounting.Spent`); models trained without privacy leave nothing to guarantee.

The clip has to be chosen without looking at the data, or it leaks; `clip_of` says when it was not. As everywhere with
noise in floating point, the last bits of a release may tell more than the formulas do (Mironov 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Query:
    """A number of every sample that lies in [0, bound], whatever the sample: that is its sensitivity.

    Attributes:
        values: [n] float64, clipped. bound: what replacing a sample's data changes its number by at most; attained.
        power: what is released is clamped at 0 and raised to it (1/2 for a variance), which costs no privacy.

    Raises:
        SpecError: no positive, finite bound.
    """

    values: Tensor
    bound: float
    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise SpecError(f"scores cannot be clipped to {self.bound:g}", "release.clips", "give a number above 0")

    def released(self, epsilon: float, seed: int, method: str) -> Tensor:
        """Every number with Laplace noise of scale bound / epsilon (Dwork and Roth 2014, Theorem 3.6): [n] float64.

        Each sample spends `epsilon`, and no other sample's. The noise is drawn by the names seed, method and epsilon.
        """
        noisy = self.values + _laplace(self.bound / _spendable(epsilon), len(self.values), seed, method, epsilon, "all")
        return noisy.clamp(min=0).pow(self.power)

    def released_mean(self, epsilon: float, seed: int, method: str, client: int | str) -> float:
        """The mean over the samples, of a client, whose number n_k is public: Laplace noise of scale bound / (n_k eps).

        Raises:
            SpecError: no sample.
        """
        n = len(self.values)
        if not n:
            raise SpecError(f"client {client} has no score to release", "release", "leave it out")
        noise = _laplace(self.bound / (n * _spendable(epsilon)), 1, seed, method, epsilon, str(client))
        return float((self.values.mean() + noise).clamp(min=0).pow(self.power))


def clipped(scores: Tensor, clip: float) -> Query:
    """Scores [n], clipped to [0, clip]: what the paper proposes for PLIS, and what suits every score from 0 up."""
    return Query(scores.double().clamp(0, clip), clip)


def variance_query(variances: Tensor, clip: float, checkpoints: int) -> Query:
    """VoG as a variance: the mean over pixels of the variance over K checkpoints of maps clipped to |S_t| <= clip.

    Released, clamped at 0, and its root taken: a root of a mean, where VoG is a mean of roots.

    Args:
        variances: [n], of maps that were clipped (see `clipped_variance`). clip: R. checkpoints: K.
    """
    bound = variance_bound(clip, checkpoints)
    return Query(variances.double().clamp(0, bound), bound, 0.5)


def clipped_variance(maps: Tensor, clip: float) -> Tensor:
    """Mean over pixels of the variance (1/K) over checkpoints of maps [K, n, ...], clipped to [-clip, clip]: [n]."""
    return maps.double().clamp(-clip, clip).var(0, correction=0).flatten(1).mean(1)


def variance_bound(clip: float, count: int) -> float:
    """The largest variance (1/K) of K = `count` numbers within [-R, R]: R^2 for even K, R^2 (1 - 1/K^2) for odd K.

    A variance is convex in each number, so it is largest with all of them at the ends, j at R and K - j at -R: then it
    is R^2 (1 - (2j/K - 1)^2), largest for the j next to K/2 (Popoviciu's bound, attained for even K). The smallest is
    0, of equal numbers, so this is also what replacing a sample can change. A mean over pixels has the same bound.
    """
    return clip**2 * (1 - (count % 2) / count**2)


def clip_of(values: Tensor, public: float | None, quantile: float) -> tuple[float, bool]:
    """The clip, and whether it is public: `public` where given, else a quantile of `values`, which is not private.

    Where the quantile is 0 (counts that are mostly 0) the largest value is taken.
    """
    if public is not None:
        return public, True
    found = float(values.double().abs().flatten().kthvalue(_rank(quantile, values.numel())).values)
    return found or float(values.abs().max()), False


def _rank(quantile: float, n: int) -> int:
    return min(n, max(1, math.ceil(quantile * n)))


def _spendable(epsilon: float) -> float:
    if not 0 < epsilon < math.inf:
        raise SpecError(f"nothing can be released at epsilon {epsilon:g}", "release", "give an epsilon above 0")
    return epsilon


def _laplace(scale: float, n: int, seed: int, method: str, epsilon: float, of: str) -> Tensor:
    drawn = stream(seed, "release", method=method, epsilon=f"{epsilon:g}", of=of).laplace(0.0, scale, n)
    return torch.from_numpy(drawn)
