"""Federated averaging (McMahan et al. 2017): the mean of the local models, weighted by samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Local, Plain, Setup, Turn

if TYPE_CHECKING:
    from torch import Tensor


class FedAvg(Block, Algorithm):
    """Federated averaging (McMahan et al. 2017).

    w_t = sum_k n_k / N(C_t) w_k (Eq. 3 of Xue et al. 2021), of parameters and buffers alike.
    """

    kind: Literal["fedavg"] = "fedavg"
    private: ClassVar[bool] = True
    one_gradient: ClassVar[bool] = True

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Plain local training."""
        return Local()

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean is the next model."""
        return mean, state

    def plain(self, setup: Setup) -> Plain:
        """The mean of whole models."""
        return Plain(setup)
