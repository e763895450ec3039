"""Inter-client gradient variance: how far the gradients of clients are from their mean (Definition 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor


class GradientVariance:
    """CGV of clients that come one at a time, in float64 and in memory for two gradients, part of the model by part.

    Over clients: sum_m p_m |g_m - G|^2 with g_m the client's mean gradient, G = sum_m p_m g_m and p_m its weight over
    all weights (Karimireddy et al. 2020). Over samples, as Definition 4.2 of Tang et al. 2024 is written:
    sum_m p_m E_{(x,y)~D_m} |grad f_m(x, y) - G|^2, which is the former plus the variance within clients. Both split
    into parts of the parameters (their Eq. 3). Means and variances are updated as by West (1979).

    Attributes:
        parts: the columns of each part, masks [p].
    """

    def __init__(self, parts: dict[str, Tensor]) -> None:
        self.parts = parts
        self._weight = 0.0
        self._mean: Tensor | None = None
        self._between = dict.fromkeys(parts, 0.0)
        self._within = dict.fromkeys(parts, 0.0)

    def add(self, weight: float, gradient: Tensor, within: dict[str, float] | None = None) -> None:
        """Take in a client.

        Args:
            weight: its weight, such as n_m. gradient: [p] its mean gradient.
            within: E |g(x, y) - gradient|^2 over its samples, of each part; None: zero.
        """
        gradient = gradient.double()
        if self._mean is None:
            self._mean = torch.zeros_like(gradient)
        self._weight += weight
        before = gradient - self._mean
        self._mean += before * (weight / self._weight)
        products = before * (gradient - self._mean)
        for name, columns in self.parts.items():
            self._between[name] += weight * float(products[columns].sum())
            self._within[name] += weight * (within or {}).get(name, 0.0)

    def over_clients(self, part: str) -> float:
        """The variance between the clients' mean gradients."""
        return self._between[part] / self._weight

    def over_samples(self, part: str) -> float:
        """The same of gradients of single samples: with what varies within clients."""
        return (self._between[part] + self._within[part]) / self._weight

    def square(self, part: str) -> float:
        """|G|^2 of a part, to which its variance compares."""
        assert self._mean is not None
        return float(self._mean[self.parts[part]].square().sum())


def bound(real: float, sampled: float) -> float:
    """N^2 / (N + N^)^2, by which sharing features shrinks the variance above the split (Theorem 4.2).

    Args:
        real: N, samples of all clients. sampled: N^, features sampled by all clients.
    """
    return (real / (real + sampled)) ** 2
