"""FedAdam (Reddi et al. 2021): Adam on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from experiments.core.algorithms._server_optimizer import Adaptive, PlainServer
from experiments.core.engine.algorithm import Plain, Setup

if TYPE_CHECKING:
    from torch import Tensor


class FedAdam(Adaptive):
    """Adam on the server (Reddi et al. 2021, Algorithm 2): v = beta2 v + (1 - beta2) Delta^2."""

    kind: Literal["fedadam"] = "fedadam"

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """An exponential mean."""
        return self.beta2 * v + (1 - self.beta2) * square

    def plain(self, setup: Setup) -> Plain:
        """Both moments of one world."""
        return _PlainAdam(setup, self)


class _PlainAdam(PlainServer):
    def __init__(self, setup: Setup, block: FedAdam) -> None:
        super().__init__(setup)
        self._block = block

    def move(self, delta: Tensor) -> Tensor:
        b = self._block
        m, v = self.memory.get("m", delta * 0), self.memory.get("v", delta * 0 + b.tau * b.tau)
        self.memory["m"], self.memory["v"] = m.lerp(delta, 1 - b.beta1), v.lerp(delta * delta, 1 - b.beta2)
        return self.memory["m"].div(self.memory["v"].sqrt() + b.tau).mul(b.lr)
