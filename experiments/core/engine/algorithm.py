"""What a federated algorithm is to the engine: frozen hyper-parameters, and a state that the engine carries per world.

An algorithm never holds what it remembers. `init` says what one world begins with; the engine keeps a client's state
from when it first takes part, forks it with the worlds, cuts it with them into chunks, counts it in the plan's memory,
and saves and restores it with the run.
Imports no torch: the blocks of a spec are algorithms themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from experiments.core.engine.formulations import Formulation
    from experiments.core.engine.local import LocalTraining
    from experiments.core.engine.net import Net


Weighting = Literal["samples", "clients"]


@dataclass(frozen=True)
class State:
    """What an algorithm remembers in one world before the first round; `engine.remembered` carries it from there.

    Attributes:
        server: [1, S] numbers of the server (momentum, a control variate, ...); S may be 0.
        client: [1, C] numbers of every client that has not taken part yet; C may be 0.
    """

    server: Tensor
    client: Tensor

    def numbers(self, participants: int) -> int:
        """How many numbers a world holds once `participants` clients have taken part."""
        return self.server.numel() + participants * self.client.numel()


@dataclass(frozen=True)
class Setup:
    """What an algorithm is told of a run before its first round.

    Attributes:
        p: number of trained parameters: the first p of a state's `size` numbers; the rest are buffers.
        clients: N, the number of clients of the *base* world. A world without client c keeps it where an algorithm
            divides by N (SCAFFOLD, FedDyn): leaving out a client that never takes part then changes nothing, and a
            world equals the base world until c first takes part (law 4).
        classes: C, the number of labels; 1 where numbers are predicted.
        seed: of the run.
        features: the shape of one sample's features behind a named block of the model (see `engine.split`).
    """

    p: int
    clients: int
    classes: int
    seed: int
    features: Callable[[str], tuple[int, ...]]


@dataclass(frozen=True)
class Turn:
    """What every client and the server know of one round.

    Attributes:
        index: t, from 1. lr: the local learning rate of this round. local: the settings of local training.
        setup: what was known before the first round.
    """

    index: int
    lr: float
    local: LocalTraining
    setup: Setup

    @property
    def p(self) -> int:
        """See `Setup.p`."""
        return self.setup.p

    @property
    def clients(self) -> int:
        """See `Setup.clients`."""
        return self.setup.clients


@dataclass(frozen=True)
class Batch:
    """One local step of one client.

    Attributes:
        client: k. step: from 0, in this round. epoch: from 0, in this round (a full-batch step is an epoch).
        x, y: [n, ...], [n] the samples. weight: [B, n] sample weights of B worlds (0 leaves a sample out); None: all
            ones.
    """

    client: int
    step: int
    epoch: int
    x: Tensor
    y: Tensor
    weight: Tensor | None


@dataclass(frozen=True)
class Finished:
    """What one client hands over in B worlds.

    Attributes:
        sent: [B, U] uploads, which the engine averages. client: [B, C] the client's new state; None: as it was.
    """

    sent: Tensor
    client: Tensor | None = None


class Local:
    """One client's part of a round in B worlds; this base is FedAvg's: plain gradients, and the model is sent.

    It is made anew for every piece of work and writes no state: the engine takes what `finish` returns once the piece
    is done for good, because work that ran out of memory runs again in smaller pieces. It is also made, and finished
    without a step, on the meta device, to count what is sent.
    """

    def step(self, formulation: Formulation, theta: Tensor, batch: Batch) -> Tensor:
        """The direction [B, p] of one local step at `theta` [B, size], of which `formulation` computes the gradients.

        An algorithm whose step is more than one gradient of the model's own loss overrides it.
        """
        return self.gradient(formulation.gradient(theta, batch.x, batch.y, batch.weight), theta)

    def gradient(self, gradient: Tensor, theta: Tensor) -> Tensor:
        """The gradient to step along, from the loss's [B, p] (may be overwritten) at `theta` [B, size]."""
        return gradient

    def finish(self, theta: Tensor, steps: int) -> Finished:
        """What is sent after `steps` local steps have ended at `theta` [B, size] (clipped, where privacy is on)."""
        return Finished(theta)


class Plain:
    """The same algorithm as anybody would write it for one world: the twin that the stacked form is tested against.

    This base is FedAvg's. A form may keep tensors in `memory` between rounds, by name; its caller saves and restores
    them.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.p, self.clients = setup, setup.p, setup.clients
        self.memory: dict[str, Tensor] = {}

    def loss(self, net: Net, module: nn.Module, batch: Batch, turn: Turn) -> Tensor:
        """What a local step descends: the mean loss of the batch's samples whose `weight` is not 0."""
        x, y, counted = counted_samples(net, batch)
        return net.losses(module(x), y)[counted].mean()

    def correct(self, client: int, trained: Sequence[Any], start: Sequence[Tensor]) -> None:
        """Change the `.grad` of the parameters `trained`, which were `start` when the round began."""

    def remembered(self, name: str, like: Tensor) -> Tensor:
        """What `memory` has under `name`; before that zeros like `like` [p]."""
        return self.memory.get(name, like.new_zeros(len(like)))

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        """The next global state [size] from the clients' replies (at least one) in round `turn`."""
        return mean([r.model for r in replies], [r.samples for r in replies])


def counted_samples(net: Net, batch: Batch) -> tuple[Tensor, Tensor, Any]:
    """What of one world's batch goes through a module of `net`: x, y, and which of these rows count.

    A sample of weight 0 goes through a model that draws (but not through one with statistics), so that the others keep
    their draws.
    """
    if batch.weight is None:
        return batch.x, batch.y, slice(None)
    counted = batch.weight[0] != 0
    if net.draws and net.size == net.p:
        return batch.x, batch.y, counted
    return batch.x[counted], batch.y[counted], slice(None)


@dataclass(frozen=True)
class Reply:
    """One client's result on the plain path: who, its samples and local steps, and its model [size]."""

    client: int
    samples: int
    steps: int
    model: Tensor


def mean(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of tensors."""
    import torch

    total = sum(weights)
    return torch.stack([value * (weight / total) for value, weight in zip(values, weights, strict=True)]).sum(0)


class Algorithm(ABC):
    """A federated algorithm: hyper-parameters that never change, and pure functions of the state they are given.

    Attributes:
        rest: how what an upload holds beyond the model's numbers is averaged (see `weighting`); None: as the models.
        splits: its local steps need `Formulation.joint`.
        broadcasts: clients are sent the server's state beside the model.
        private: whether clipping the local models and noise on the next global one give DP-FedAvg's guarantee: only
            where a client sends nothing but its model, and the server keeps nothing that escapes the noise.
        one_gradient: whether all that a client sends and keeps follows from one gradient a local step, so that DP-SGD's
            noise on it protects the client's samples.
    """

    rest: ClassVar[Weighting | None] = None
    splits: ClassVar[bool] = False
    broadcasts: ClassVar[bool] = False
    private: ClassVar[bool] = False
    one_gradient: ClassVar[bool] = False

    def protected_by(self, privacy: str) -> bool:
        """Whether the guarantee of a kind of privacy ("average", "sgd") holds for what it sends and keeps."""
        return {"average": self.private, "sgd": self.one_gradient}[privacy]

    @property
    def weighting(self) -> Weighting:
        """Whether models are averaged by the clients' "samples" (n_k / N), or each of the "clients" counts the same."""
        return "samples"

    def init(self, start: Tensor, setup: Setup) -> State:
        """The state of one world before the first round, whose model is `start` [size].

        By default nothing is remembered. Also called on the meta device, to count memory.

        Raises:
            SpecError: the algorithm cannot be used on this model or these data.
        """
        return State(start.new_empty(1, 0), start.new_empty(1, 0))

    @abstractmethod
    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """One client's part in B worlds, from the global states `start` [B, size], `server` [B, S], `client` [B, C]."""

    @abstractmethod
    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The server's step in B worlds.

        Args:
            turn: the round.
            start: [B, size] the global states before it.
            mean: [B, U] the weighted means of the uploads.
            participants: [B, 1] how many clients took part in each world.
            state: [B, S] the server's state.

        Returns:
            [B, size] the next global states, and [B, S] the next server state; neither in place of the arguments.
        """

    def plain(self, setup: Setup) -> Plain:
        """The ordinary form of this algorithm.

        Raises:
            SpecError: it has none.
        """
        name = getattr(self, "kind", type(self).__name__)
        raise SpecError(
            f"the algorithm {name} has no plain form, in which single worlds are trained",
            "algorithm.kind",
            "write `plain` in its file, or train the world under `fedlab influence`, which does without",
        )

    def unfit(self, local: Any) -> list[str]:
        """What in the local training `local` (optimizer, momentum, ...) the algorithm is not made for: "key: why"."""
        return []
