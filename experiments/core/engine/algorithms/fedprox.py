"""FedProx (Li et al. 2020): a proximal term mu/2 |w - w_t|^2 holds local models near the global one."""

from __future__ import annotations

from torch import Tensor

from experiments.core.engine.algorithms.base import Algorithm


class FedProx(Algorithm):
    """FedAvg with the gradient of the proximal term added to every local gradient."""

    name = "fedprox"
    corrects = True

    def __init__(self, mu: float) -> None:
        self.mu = mu

    def correct(self, gradient: Tensor, theta: Tensor, start: Tensor) -> Tensor:
        """Add mu (w - w_t)."""
        p = gradient.shape[1]
        return gradient.add(theta[:, :p] - start[:, :p], alpha=self.mu)
