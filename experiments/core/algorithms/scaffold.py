"""SCAFFOLD (Karimireddy et al. 2020): control variates correct the drift of local training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.engine.algorithm import (
    Algorithm,
    Finished,
    Local,
    Plain,
    Reply,
    Setup,
    State,
    Turn,
    Weighting,
    mean,
)

if TYPE_CHECKING:
    from torch import Tensor


class Scaffold(Block, Algorithm):
    """Stochastic controlled averaging (Karimireddy et al. 2020, Algorithm 1 with option II).

    Clients step along g - c_k + c; then c_k becomes c_k - c + (w - w_k) / (steps * eta_l). The server goes lr times the
    plain mean of the clients' updates, and moves c by |S| / N times the mean change of c_k. All variates begin at zero.
    Weight decay counts as part of each client's objective, so that the variates hold its gradient, too. Buffers are
    averaged as the models. With private averaging it is rejected: variates are not clipped.

    The code released with FedImpro (Tang et al. 2024) does otherwise: `average: samples` weighs the clients' models by
    n_k, and `variates: participants` moves c by the whole mean change, as if every client took part (so that c is not
    the mean of all c_k any more).
    """

    kind: Literal["scaffold"] = "scaffold"
    lr: float = Field(1.0, gt=0, description="eta_g, the server's step")
    average: Weighting = Field("clients", description="models count alike (clients) or by n_k (samples)")
    variates: Literal["all", "participants"] = Field(
        "all", description="c moves by |S| / N of the participants' mean change, or by all of it"
    )
    rest: ClassVar[Weighting | None] = "clients"
    broadcasts: ClassVar[bool] = True
    one_gradient: ClassVar[bool] = True

    @property
    def weighting(self) -> Weighting:
        """See `average`."""
        return self.average

    def init(self, start: Tensor, setup: Setup) -> State:
        """Zeros: c [p], and c_k [p] of every client."""
        return State(start.new_zeros(1, setup.p), start.new_zeros(1, setup.p))

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Corrected local training; the model and the change of c_k are sent."""
        return _Controlled(turn, start, server, client)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Go lr times the mean update, and move c by |S| / N of the mean change, or by all of it."""
        size, p = start.shape[1], turn.p
        after = mean[:, :size].clone()
        after[:, :p] = start[:, :p] + self.lr * (mean[:, :p] - start[:, :p])
        moved = participants / turn.clients if self.variates == "all" else 1.0
        return after, state + moved * mean[:, size:]

    def plain(self, setup: Setup) -> Plain:
        """The paper's loop over clients, variates by the client's number."""
        return _PlainScaffold(setup, self)

    def unfit(self, local: Any) -> list[str]:
        """Option II reads the mean gradient off the update, which takes plain steps."""
        fits = local.optimizer == "sgd" and not local.momentum
        return [] if fits else ["local: scaffold's control variates are derived for plain sgd (no momentum, no adam)"]


class _Controlled(Local):
    def __init__(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> None:
        self._turn, self._start, self._client = turn, start, client
        self._server, self._shift = server, server - client

    def gradient(self, gradient: Tensor, theta: Tensor) -> Tensor:
        return gradient.add_(self._shift)

    def finish(self, theta: Tensor, steps: int) -> Finished:
        import torch

        p, lr = self._turn.p, self._turn.lr
        if lr:  # a cosine schedule ends at 0, where an update tells nothing of gradients
            change = (self._start[:, :p] - theta[:, :p]) / (steps * lr) - self._server
        else:
            change = self._client.new_zeros(self._client.shape)
        return Finished(torch.cat([theta, change], 1), self._client + change)


class _PlainScaffold(Plain):
    def __init__(self, setup: Setup, scaffold: Scaffold) -> None:
        super().__init__(setup)
        self._scaffold = scaffold

    def correct(self, client: int, trained: Sequence[Any], start: Sequence[Tensor]) -> None:
        import torch

        like = torch.cat([anchor.flatten() for anchor in start])
        shift, at = self.remembered("server", like) - self.remembered(f"client {client}", like), 0
        for parameter in trained:
            part = shift[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
            parameter.grad = part.clone() if parameter.grad is None else parameter.grad + part

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        w, c = before[: self.p], self.remembered("server", before[: self.p])
        by_samples = self._scaffold.average == "samples"
        after = mean([r.model for r in replies], [r.samples if by_samples else 1 for r in replies])
        after[: self.p] = w + self._scaffold.lr * (after[: self.p] - w)
        count = self.clients if self._scaffold.variates == "all" else len(replies)
        moved = c.clone()
        for reply in replies if turn.lr else ():
            old = self.remembered(f"client {reply.client}", w)
            new = old - c + (w - reply.model[: self.p]) / (reply.steps * turn.lr)
            moved += (new - old) / count
            self.memory[f"client {reply.client}"] = new
        self.memory["server"] = moved
        return after
