"""FedDebug: faulty participants by differential testing of their neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.provenance import RATE, FaultFinder, Inputs

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.net import Net


class FedDebug(FaultFinder):
    """Differential testing (Gill et al. 2023)."""

    kind: Literal["feddebug"] = "feddebug"
    inputs: int = Field(default=10, ge=1, description="random inputs")
    threshold: float = Field(default=0.003, ge=0, description="scaled activation above which a neuron is active")

    label: ClassVar[str] = "FedDebug"
    order: ClassVar[int] = 80

    def draw(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """See `FaultFinder.draw`."""
        from experiments.core.estimators._feddebug import random_inputs

        return random_inputs(shape, self.inputs, seed)

    def declared(self, net: Net, locals: Tensor, inputs: Tensor, faulty: int) -> list[tuple[int, ...]]:
        """See `FaultFinder.declared`."""
        from experiments.core.estimators._feddebug import feddebug

        return feddebug(net, locals, inputs, faulty, self.threshold)

    def price(self, inputs: Inputs) -> float:
        """Seconds for a round: a forward pass of every participant for every random input."""
        return self.inputs * inputs.clients * inputs.forward / RATE
