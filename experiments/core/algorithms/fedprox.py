"""FedProx (Li et al. 2020): a proximal term mu/2 |w - w_t|^2 holds local models near the global one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Local, Plain, Setup, Turn

if TYPE_CHECKING:
    from torch import Tensor


class FedProx(Block, Algorithm):
    """FedAvg with a proximal term (Li et al. 2020)."""

    kind: Literal["fedprox"] = "fedprox"
    mu: float = Field(gt=0, description="weight of the proximal term")
    private: ClassVar[bool] = True
    one_gradient: ClassVar[bool] = True

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Local training with the gradient of the proximal term in every step."""
        return _Proximal(self.mu, start)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean is the next model, as in FedAvg."""
        return mean, state

    def plain(self, setup: Setup) -> Plain:
        """FedAvg's, with mu (w - w_t) added to the gradient of every parameter."""
        return _PlainProximal(setup, self.mu)


class _Proximal(Local):
    def __init__(self, mu: float, start: Tensor) -> None:
        self._mu, self._start = mu, start

    def gradient(self, gradient: Tensor, theta: Tensor) -> Tensor:
        p = gradient.shape[1]
        return gradient.add(theta[:, :p] - self._start[:, :p], alpha=self._mu)


class _PlainProximal(Plain):
    def __init__(self, setup: Setup, mu: float) -> None:
        super().__init__(setup)
        self._mu = mu

    def correct(self, client: int, trained: Sequence[Any], start: Sequence[Tensor]) -> None:
        for parameter, anchor in zip(trained, start, strict=True):
            if parameter.grad is not None:
                parameter.grad = parameter.grad + self._mu * (parameter.detach() - anchor)
