"""What defines the numbers of a simulation, apart from its worlds and its initial state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor

from experiments.core.engine.algorithm import Algorithm, Setup, Turn
from experiments.core.engine.augment import Augment
from experiments.core.engine.dpsgd import Mechanism, Private
from experiments.core.engine.draws import step_seed
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.schedule import Schedule
from experiments.core.engine.seeds import stream
from experiments.core.engine.split import feature_shape


@dataclass(frozen=True)
class Problem:
    """A federation, a model and how the one trains the other.

    Attributes:
        net, federation: the model and the data. schedule: who takes part in each round.
        local, algorithm: what clients do, and what they and the server make of it. seed: of all that is drawn.
        privacy: clips updates and adds noise on the server (DP-FedAvg). augment: changes training images.
        mechanism: makes each local step private (DP-SGD), with batches drawn by Poisson sampling.
    """

    net: Net
    federation: Federation
    schedule: Schedule
    local: LocalTraining
    algorithm: Algorithm
    seed: int
    privacy: Privacy | None = None
    augment: Augment | None = None
    mechanism: Mechanism | None = None

    def batches(self, client: int, t: int) -> list[Tensor | None]:
        """Rows of each local step of `client` in round t within its data; None for all of them."""
        draw = self.local.batches if self.mechanism is None else self.local.poisson_batches
        return draw(self.federation.sizes[client], self.seed, client, t)

    def way(self, formulation: Formulation, client: int, weight: Tensor | None) -> Formulation:
        """What computes the gradients of `client`, whose samples weigh `weight` [B, n] (None: 1): `formulation`.

        With a `mechanism` they are private.
        """
        if self.mechanism is None:
            return formulation
        n = self.federation.sizes[client]
        rate = self.local.rate(n)
        return Private(formulation, self.mechanism, rate * n if weight is None else rate * weight.sum(1))

    def shown(self, client: int, t: int, step: int, x: Tensor) -> Tensor:
        """The inputs [n, ...] of a local step as the model sees them: changed by `augment`, the same in every world."""
        if self.augment is None or not len(x):  # a batch that Poisson sampling drew may be empty
            return x
        return self.augment(x, stream(self.seed, "augment", client=client, round=t, step=step))

    def draws_of(self, client: int, t: int) -> Callable[[int], int] | None:
        """Step of round t -> the stream of what `client`'s model draws in it; None where nothing is drawn.

        Noise of a `mechanism` is, too.
        """
        drawn = self.net.draws or self.mechanism is not None
        return (lambda step: step_seed(self.seed, client=client, round=t, step=step)) if drawn else None

    def turn(self, t: int) -> Turn:
        """What the algorithm is told of round t."""
        return Turn(t, self.local.lr_at(t), self.local, self.setup)

    @cached_property
    def setup(self) -> Setup:
        """What the algorithm is told before the first round."""
        federation, module = self.federation, self.net.module
        features = lru_cache(lambda block: feature_shape(module, block, federation.x[:2]))
        return Setup(self.net.p, len(federation.sizes), federation.classes, self.seed, features)
