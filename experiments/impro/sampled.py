"""Gaussian feature distributions by class, and draws from them (Eq. 6 and Algorithm 1 of Tang et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.engine.halves import Halves
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.engine.split import path_of
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

    def with_own(self, own: FeatureDistribution, cap: float | None) -> FeatureDistribution:
        """The same, with a client's own statistics for the classes it holds; deviations at most `cap`."""
        held = own.known.reshape(-1, *[1] * (self.mean.dim() - 1))
        deviation = own.deviation if cap is None else own.deviation.clamp(max=cap)
        return FeatureDistribution(
            torch.where(held, own.mean, self.mean), torch.where(held, deviation, self.deviation), self.known | own.known
        )

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
    """The distribution that FedImpro's server holds at the start of a round; None under another algorithm.

    Args:
        path: of the block whose features are meant; None also where the algorithm splits behind another one.
    """
    algorithm = problem.algorithm
    if not isinstance(algorithm, FedImpro) or path_of(problem.net.module, algorithm.split) != path:
        return None
    mean, deviation = algorithm.statistics(record.remembered, problem.setup)
    return FeatureDistribution(mean, deviation, torch.ones(len(mean), dtype=torch.bool, device=mean.device))
