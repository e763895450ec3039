"""Methods that name the participants of a round who are responsible for its model's behaviour. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from experiments.core.estimators.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.net import Net
    from experiments.core.engine.simulate import Round
    from experiments.core.estimators.numerics.tracefl import Contributions

RATE = 3e10
"""Operations per second of 2 CPU cores in gradients of single inputs."""


@dataclass(frozen=True)
class Traced:
    """n predictions of the global model of a round with K participants.

    Attributes:
        record: the round. contributions: what each participant contributes to the predicted logits.
        noisy: the traced model holds noise that the participants' average does not.
    """

    record: Round
    contributions: Contributions
    noisy: bool = False

    @property
    def n(self) -> int:
        """How many predictions."""
        return len(self.contributions.target)

    @property
    def shares(self) -> Tensor:
        """p_k of the participants: [K]."""
        shares: Tensor = self.record.sizes / self.record.sizes.sum()
        return shares


@dataclass(frozen=True)
class Inputs:
    """What a method's price depends on: inputs of a round, participants, parameters, operations of a forward pass."""

    n: float
    clients: int
    parameters: int
    forward: float


class TraceMethod(Method):
    """A way to tell who is responsible, as a block of a spec. Its members are of one of the two kinds below."""

    family: ClassVar[str] = "trace method"

    def price(self, inputs: Inputs) -> float:
        """Seconds for a round's inputs on 2 CPU cores: their gradients, and a product with every participant."""
        gradients = 3 * inputs.n * inputs.forward
        return (gradients + 2 * inputs.n * inputs.clients * inputs.parameters) / RATE


class ProvenanceMethod(TraceMethod):
    """Scores the participants for every prediction.

    Attributes:
        sees_inputs: whether it reads the contributions; otherwise all predictions of a round get the same scores.
    """

    sees_inputs: ClassVar[bool] = True

    def scores(self, traced: Traced) -> Tensor:
        """[n, K], higher is more responsible."""
        raise NotImplementedError


class UpdateMethod(ProvenanceMethod):
    """Scores the participants by their updates alone."""

    sees_inputs: ClassVar[bool] = False

    def price(self, inputs: Inputs) -> float:
        """Seconds for a round: a pass over every participant's parameters."""
        return 2 * inputs.clients * inputs.parameters / RATE


class FaultFinder(TraceMethod):
    """Declares participants faulty by inputs it generates, not for a prediction."""

    def draw(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """Its inputs, before the data's normalisation: [n, *shape]."""
        raise NotImplementedError

    def declared(self, net: Net, locals: Tensor, inputs: Tensor, faulty: int) -> list[tuple[int, ...]]:
        """For each input the `faulty` participants it declares, by their place in locals [K, size]."""
        raise NotImplementedError
