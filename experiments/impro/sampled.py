"""Gaussian feature distributions by class, and draws from them (Eq. 6 and Algorithm 1 of Tang et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from experiments.core.engine.halves import Halves
from experiments.core.engine.simulate import Problem, Round
from experiments.core.scores.transport import Moments

_AT_ONCE = 256  # samples of which features are held


@dataclass(frozen=True)
class FeatureDistribution:
    """H: independent normal features, by class.

    Attributes:
        mean, deviation: [C, ...] of each feature. known: [C] whether the class has a distribution.
    """

    mean: Tensor
    deviation: Tensor
    known: Tensor

    def balanced(self, n: int) -> Tensor:
        """[n] labels, the known classes one after another."""
        classes = self.known.nonzero()[:, 0]
        return classes[torch.arange(n, device=classes.device) % len(classes)]

    def draw(self, labels: Tensor, rng: np.random.Generator) -> Tensor:
        """[n, ...] features of classes `labels` [n], from the stream `rng`."""
        mean, deviation = self.mean[labels], self.deviation[labels]
        normal = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(mean)
        return mean + deviation * normal


def moments(halves: Halves, theta: Tensor, x: Tensor, y: Tensor, classes: int) -> Moments:
    """Moments by class of the features of x [n, ...], y [n], flattened: [classes, d]."""
    pieces = zip(x.split(_AT_ONCE), y.split(_AT_ONCE), strict=True)
    with torch.no_grad():
        return reduce(Moments.joined, (Moments.of(halves.features(theta, a).flatten(1), b, classes) for a, b in pieces))


def estimated(
    halves: Halves, theta: Tensor, clients: Iterable[tuple[Tensor, Tensor]], classes: int
) -> FeatureDistribution:
    """The distribution of the features of all `clients` (x, y) together, at the state theta [size]."""
    total = reduce(Moments.joined, (moments(halves, theta, x, y, classes) for x, y in clients))
    with torch.no_grad():
        shape = halves.features(theta, halves.probe).shape[1:]
    mean, deviation = (values.to(theta).reshape(classes, *shape) for values in (total.mean, total.deviation))
    return FeatureDistribution(mean, deviation, total.count > 0)


def held_by(problem: Problem, record: Round, path: str) -> FeatureDistribution | None:
    """The distribution that the algorithm's server holds at the start of a round, or None.

    Args:
        path: of the block whose features are meant; None also where the algorithm splits behind another one.
    """
    return None
