"""FedAvgM (Hsu et al. 2019): momentum on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.algorithms._server_optimizer import PlainServer, ServerOptimizer
from experiments.core.engine.algorithm import Plain, Setup, State

if TYPE_CHECKING:
    from torch import Tensor


class FedAvgM(ServerOptimizer):
    """Server momentum (Hsu et al. 2019): v = momentum v + Delta, w + lr v; the paper's lr is 1."""

    kind: Literal["fedavgm"] = "fedavgm"
    lr: float = Field(1.0, gt=0, description="the server's step")
    momentum: float = Field(0.9, ge=0, lt=1, description="beta, the server's momentum")

    def init(self, start: Tensor, setup: Setup) -> State:
        """The velocity [p]: zero."""
        return State(start.new_zeros(1, setup.p), start.new_empty(1, 0))

    def step(self, delta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go lr times the velocity."""
        velocity = self.momentum * state + delta
        return self.lr * velocity, velocity

    def plain(self, setup: Setup) -> Plain:
        """The velocity of one world."""
        return _PlainMomentum(setup, self)


class _PlainMomentum(PlainServer):
    def __init__(self, setup: Setup, block: FedAvgM) -> None:
        super().__init__(setup)
        self._block = block

    def move(self, delta: Tensor) -> Tensor:
        velocity = self.memory.get("velocity")
        self.memory["velocity"] = delta if velocity is None else velocity.mul(self._block.momentum).add(delta)
        return self._block.lr * self.memory["velocity"]
