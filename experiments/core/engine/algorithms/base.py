"""What a federated algorithm may change: a local gradient, and the step from local models to the next global one."""

from __future__ import annotations

from torch import Tensor


class Algorithm:
    """FedAvg's own behaviour; other algorithms override a method. All tensors carry worlds in their first dimension."""

    name = ""
    corrects = False

    def correct(self, gradient: Tensor, theta: Tensor, start: Tensor) -> Tensor:
        """Change a local gradient [B, p] at `theta` [B, size], when the round began at `start` [B, size]."""
        return gradient

    def aggregate(self, start: Tensor, mean: Tensor) -> Tensor:
        """Next global states from the weighted mean of the local ones, both [B, size]."""
        return mean
