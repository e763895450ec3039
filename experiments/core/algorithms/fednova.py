"""FedNova (Wang et al. 2020): local updates are divided by the local work behind them, then averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Finished, Local, Plain, Reply, Setup, Turn, mean

if TYPE_CHECKING:
    from torch import Tensor


class FedNova(Block, Algorithm):
    """Normalised averaging (FedNova, Wang et al. 2020).

    w - tau_eff sum_k p_k d_k, with p_k = n_k / N over the participants, d_k = (w - w_k) / |a_k|_1 (the learning rate
    within it) and tau_eff = sum_k p_k |a_k|_1, where |a_k|_1 is the weight of client k's gradients in its update: its
    steps tau, or (tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho) with momentum rho. Weight decay counts as part of
    each client's objective. Buffers are averaged as in FedAvg. With private averaging it is rejected:
    what is averaged is not the update that is clipped.
    """

    kind: Literal["fednova"] = "fednova"
    one_gradient: ClassVar[bool] = True

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Plain local training; the normalised update, the buffers and |a_k|_1 are sent."""
        return _Normalised(turn, start)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean of the normalised updates, times the effective number of steps."""
        moved, p = mean[:, :-1].clone(), turn.p
        moved[:, :p] = start[:, :p] + mean[:, -1:] * mean[:, :p]
        return moved, state

    def plain(self, setup: Setup) -> Plain:
        """The same sums, client by client; |a_k|_1 in closed form."""
        return _PlainNova(setup)

    def unfit(self, local: Any) -> list[str]:
        """Adam's steps are no weighted sum of gradients."""
        fits = local.optimizer == "sgd" and not local.nesterov
        return (
            [] if fits else ["local: fednova normalises steps of sgd, with or without momentum (not nesterov's, adam)"]
        )


def weight_of(steps: int, momentum: float) -> float:
    """|a|_1 of `steps` steps of SGD: the sum of the velocities when every gradient is 1."""
    velocity = total = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        total += velocity
    return total


class _Normalised(Local):
    def __init__(self, turn: Turn, start: Tensor) -> None:
        self._turn, self._start = turn, start

    def finish(self, theta: Tensor, steps: int) -> Finished:
        weight, p = weight_of(steps, self._turn.local.momentum), self._turn.p
        sent = theta.new_full((theta.shape[0], theta.shape[1] + 1), weight)
        sent[:, :-1] = theta
        sent[:, :p] -= self._start[:, :p]
        sent[:, :p] /= weight
        return Finished(sent)


class _PlainNova(Plain):
    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        rho, total = turn.local.momentum, sum(r.samples for r in replies)
        weights = [(r.steps - rho * (1 - rho**r.steps) / (1 - rho)) / (1 - rho) for r in replies]
        effective = sum(r.samples / total * weight for r, weight in zip(replies, weights, strict=True))
        after = mean([r.model for r in replies], [r.samples for r in replies])
        after[: self.p] = before[: self.p]
        for reply, weight in zip(replies, weights, strict=True):
            share = reply.samples / total
            after[: self.p] -= effective * share * (before[: self.p] - reply.model[: self.p]) / weight
        return after
