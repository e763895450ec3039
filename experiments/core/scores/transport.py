"""Wasserstein distances: of samples by exact transport, of diagonal Gaussians in closed form, and by class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.core.errors import MissingError


def exact(x: Tensor, y: Tensor) -> float:
    """The 1-Wasserstein distance between two clouds of samples, every sample of a cloud weighing the same.

    inf over couplings J of E_J |x - x'|_2 (Definition 4.1 of Tang et al. 2024, one class of it), solved exactly by the
    network simplex of POT (Bonneel et al. 2011; Flamary et al. 2021). Time grows like n^3, memory like n^2: a few
    hundred samples. In many dimensions two samples of one distribution are far from each other, too: compare with that.

    Args:
        x: [n, d]. y: [m, d]; n and m need not be equal.

    Raises:
        MissingError: POT is not installed. ValueError: an empty cloud.
    """
    if not len(x) or not len(y):
        raise ValueError("a cloud without samples has no distance")
    cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
    return float(_pot().emd2([], [], cost))


def _pot() -> Any:
    try:
        import ot
    except ImportError as error:
        raise MissingError("exact transport needs the package POT", "distance.exact", "pip install POT") from error
    return ot


@dataclass(frozen=True)
class Moments:
    """Counts, means and squared deviations of groups of samples.

    Attributes:
        count: [G] samples of each group. mean: [G, d], zero where a group is empty. square: [G, d] sums of squared
            differences from the group's mean.
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor, group: Tensor, groups: int) -> Moments:
        """In two passes, in float64: x [n, d], group [n] in 0..groups-1."""
        x = x.double()
        count = torch.bincount(group, minlength=groups).to(x)
        total = x.new_zeros(groups, x.shape[1]).index_add_(0, group, x)
        mean = total / count.clamp(min=1)[:, None]
        square = x.new_zeros(groups, x.shape[1]).index_add_(0, group, (x - mean[group]).square())
        return cls(count, mean, square)

    def joined(self, other: Moments) -> Moments:
        """The moments of the samples of both, group by group (Chan et al. 1983, Eq. 2.1)."""
        count = self.count + other.count
        share = (other.count / count.clamp(min=1))[:, None]
        gap = other.mean - self.mean
        square = self.square + other.square + gap.square() * share * self.count[:, None]
        return Moments(count, self.mean + gap * share, square)

    def without(self, part: Moments) -> Moments:
        """The moments of the samples that are in these and not in `part`, which is among them: `joined` backwards."""
        count = self.count - part.count
        mean = (self.mean * self.count[:, None] - part.mean * part.count[:, None]) / count.clamp(min=1)[:, None]
        mean = torch.where(count[:, None] > 0, mean, 0.0)
        share = (count * part.count / self.count.clamp(min=1))[:, None]
        square = (self.square - part.square - (mean - part.mean).square() * share).clamp(min=0)
        return Moments(count, mean, torch.where(count[:, None] > 1, square, 0.0))

    @property
    def deviation(self) -> Tensor:
        """[G, d] standard deviations with divisor n; zero for a single sample and for none."""
        return (self.square / self.count.clamp(min=1)[:, None]).sqrt()


def gaussian(mean: Tensor, deviation: Tensor, other_mean: Tensor, other_deviation: Tensor) -> Tensor:
    """The 2-Wasserstein distance between Gaussians with diagonal covariances, [..., d] each -> [...].

    W2^2 = |m - m'|^2 + |s - s'|^2 (Olkin and Pukelsheim 1982; diagonal matrices commute). It bounds the 1-Wasserstein
    distance of these Gaussians from above, by Jensen's inequality.
    """
    return ((mean - other_mean).square().sum(-1) + (deviation - other_deviation).square().sum(-1)).sqrt()


@dataclass(frozen=True)
class Conditional:
    """A conditional distance, and which part of the two label distributions it speaks of.

    Attributes:
        value: C_d over the classes that both sides hold; NaN where there is none.
        covered: the mean over both sides of the share of samples whose class the other side holds, too, in [0, 1].
    """

    value: float
    covered: float


def conditional(distance: Tensor, count: Tensor, other: Tensor) -> Conditional:
    """C_d(D, D') = E_{y~D} W(D|y, D'|y) / 2 + E_{y~D'} W(D|y, D'|y) / 2 (Definition 4.1 of Tang et al. 2024).

    Where one side holds no sample of a class, W is not defined and the definition is silent. Here both expectations are
    over the classes that both hold, and `covered` says how much that leaves out.

    Args:
        distance: [C] W of each class; entries of classes that one side lacks are not looked at.
        count: [C] samples of D by class. other: [C] those of D'.
    """
    both = (count > 0) & (other > 0)
    if not bool(both.any()):
        return Conditional(math.nan, 0.0)
    w, p, q = (values[both].double() for values in (distance, count, other))
    value = (p / p.sum() * w).sum() / 2 + (q / q.sum() * w).sum() / 2
    covered = p.sum() / count.double().sum() / 2 + q.sum() / other.double().sum() / 2
    return Conditional(float(value), float(covered))


def of_labels(count: Tensor, other: Tensor) -> float:
    """The 1-Wasserstein distance of two label distributions where any two labels are 1 apart, in [0, 1].

    It is their total variation distance, half the sum of |p - q| over classes (Villani 2009, section 6).

    Args:
        count, other: [C] samples by class on each side, at least one each.
    """
    p, q = count.double() / count.sum(), other.double() / other.sum()
    return float((p - q).abs().sum() / 2)
