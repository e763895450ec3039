"""A residual connection around a chain of layers."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Sequential):
    """x + f(x) for a chain of layers f that keeps the shape."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum, for x [n, ...]."""
        out: Tensor = x + super().forward(x)
        return out
