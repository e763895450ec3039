"""What server optimisers share: local training is FedAvg's, and the mean update is a gradient to the server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Local, Plain, Reply, Setup, State, Turn, mean

if TYPE_CHECKING:
    from torch import Tensor


class ServerOptimizer(Block, Algorithm):
    """Delta = sum_k n_k / N (w_k - w), given to an optimiser on the server (FedOpt, Reddi et al. 2021, Algorithm 1).

    Means are weighted by samples, as in FedAvg (Algorithm 1 writes them unweighted). Buffers are averaged as in FedAvg.
    With private averaging it is rejected: the optimiser's memory would gather updates without noise.
    """

    one_gradient: ClassVar[bool] = True

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Plain local training."""
        return Local()

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The optimiser's step along the mean update."""
        after, p = mean.clone(), turn.p
        step, memory = self.step(mean[:, :p] - start[:, :p], state)
        after[:, :p] = start[:, :p] + step
        return after, memory

    @abstractmethod
    def step(self, delta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The step [B, p] to take and the next state [B, S], from Delta [B, p] and the state."""


class Adaptive(ServerOptimizer):
    """FedAdam and FedYogi (Reddi et al. 2021, Algorithm 2), which differ in their second moment.

    m = beta1 m + (1 - beta1) Delta; w + lr m / (sqrt(v) + tau). No correction of the first rounds' bias; m begins at 0
    and v at tau^2, the least that the paper allows.
    """

    lr: float = Field(0.01, gt=0, description="eta, the server's step")
    beta1: float = Field(0.9, ge=0, lt=1, description="memory of the mean update")
    beta2: float = Field(0.99, ge=0, lt=1, description="memory of its square")
    tau: float = Field(1e-3, gt=0, description="adaptivity, added to the root")

    def init(self, start: Tensor, setup: Setup) -> State:
        """The moments: m [p] at zero, then v [p] at tau^2."""
        server = start.new_zeros(1, 2 * setup.p)
        server[:, setup.p :] = self.tau**2
        return State(server, start.new_empty(1, 0))

    def step(self, delta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The two moments and the step of Algorithm 2."""
        import torch

        p = delta.shape[1]
        m = self.beta1 * state[:, :p] + (1 - self.beta1) * delta
        v = self.second(state[:, p:], delta.square())
        return self.lr * m / (v.sqrt() + self.tau), torch.cat([m, v], 1)

    @abstractmethod
    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """The next second moment from the last and Delta^2."""


class PlainServer(Plain):
    """The mean update of one world; `move` takes the server's step tensor by tensor."""

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        after = mean([r.model for r in replies], [r.samples for r in replies])
        delta = after[: self.p] - before[: self.p]
        after[: self.p] = before[: self.p] + self.move(delta)
        return after

    @abstractmethod
    def move(self, delta: Tensor) -> Tensor:
        """What is added to the parameters [p]."""
