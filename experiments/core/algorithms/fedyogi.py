"""FedYogi (Reddi et al. 2021): Yogi on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from experiments.core.algorithms._server_optimizer import Adaptive, PlainServer
from experiments.core.engine.algorithm import Plain, Setup

if TYPE_CHECKING:
    from torch import Tensor


class FedYogi(Adaptive):
    """Yogi on the server (Reddi et al. 2021, Algorithm 2): v = v - (1 - beta2) Delta^2 sign(v - Delta^2)."""

    kind: Literal["fedyogi"] = "fedyogi"

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """A step of at most (1 - beta2) Delta^2 towards Delta^2."""
        return v - (1 - self.beta2) * square * (v - square).sign()

    def plain(self, setup: Setup) -> Plain:
        """Both moments of one world."""
        return _PlainYogi(setup, self)


class _PlainYogi(PlainServer):
    def __init__(self, setup: Setup, block: FedYogi) -> None:
        super().__init__(setup)
        self._block = block

    def move(self, delta: Tensor) -> Tensor:
        b, square = self._block, delta * delta
        m, v = self.memory.get("m", delta * 0), self.memory.get("v", delta * 0 + b.tau * b.tau)
        more, less = v + (1 - b.beta2) * square, v - (1 - b.beta2) * square
        self.memory["m"] = m.lerp(delta, 1 - b.beta1)
        self.memory["v"] = more.where(v < square, less.where(v > square, v))
        return self.memory["m"].div(self.memory["v"].sqrt() + b.tau).mul(b.lr)
