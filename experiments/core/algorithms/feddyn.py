"""FedDyn (Acar et al. 2021): a dynamic regulariser makes local optima agree with the global one."""

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


class FedDyn(Block, Algorithm):
    """Dynamic regularisation (Acar et al. 2021, Algorithm 1).

    Clients train on f_k(theta) - <g_k, theta> + alpha / 2 |theta - w|^2 and then set g_k to g_k - alpha (theta_k - w);
    the server sets h to h - alpha / N sum_k (theta_k - w), and w to the participants' plain mean minus h / alpha. All
    begin at zero. The paper minimises exactly; here a client takes its local steps, by any local optimiser. Weight
    decay counts as part of f_k. Buffers are averaged plainly, each client alike. With private averaging it is
    rejected: h gathers updates without noise.
    """

    kind: Literal["feddyn"] = "feddyn"
    alpha: float = Field(gt=0, description="strength of the regulariser")
    one_gradient: ClassVar[bool] = True

    @property
    def weighting(self) -> Weighting:
        """Each participant counts the same."""
        return "clients"

    def init(self, start: Tensor, setup: Setup) -> State:
        """Zeros: h [p], and g_k [p] of every client."""
        return State(start.new_zeros(1, setup.p), start.new_zeros(1, setup.p))

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Regularised local training; the model is sent."""
        return _Regularised(self.alpha, turn, start, client)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Move h by the participants' sum over N, and go to the mean minus h / alpha."""
        after, p = mean.clone(), turn.p
        h = state - self.alpha * participants / turn.clients * (mean[:, :p] - start[:, :p])
        after[:, :p] -= h / self.alpha
        return after, h

    def plain(self, setup: Setup) -> Plain:
        """The paper's loop over clients, g_k by the client's number."""
        return _PlainDyn(setup, self.alpha)

    def unfit(self, local: Any) -> list[str]:
        """Where f_k - <g_k, theta> + alpha / 2 |theta - w|^2 is minimal, its gradient is 0; decay beside it is not."""
        fits = local.optimizer != "adamw" or not local.weight_decay
        return [] if fits else ["local: feddyn needs weight decay in the gradient (sgd, adam), not adamw's beside it"]


class _Regularised(Local):
    def __init__(self, alpha: float, turn: Turn, start: Tensor, client: Tensor) -> None:
        self._alpha, self._p, self._start, self._client = alpha, turn.p, start, client
        self._shift = client.add(start[:, : turn.p], alpha=alpha)  # once a round: two passes over memory a step

    def gradient(self, gradient: Tensor, theta: Tensor) -> Tensor:
        return gradient.add_(theta[:, : self._p], alpha=self._alpha).sub_(self._shift)

    def finish(self, theta: Tensor, steps: int) -> Finished:
        p = self._p
        return Finished(theta, self._client - self._alpha * (theta[:, :p] - self._start[:, :p]))


class _PlainDyn(Plain):
    def __init__(self, setup: Setup, alpha: float) -> None:
        super().__init__(setup)
        self._alpha = alpha

    def correct(self, client: int, trained: Sequence[Any], start: Sequence[Tensor]) -> None:
        import torch

        linear, at = self.remembered(f"client {client}", torch.cat([anchor.flatten() for anchor in start])), 0
        for parameter, anchor in zip(trained, start, strict=True):
            part = linear[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
            added = self._alpha * (parameter.detach() - anchor) - part
            parameter.grad = added if parameter.grad is None else parameter.grad + added

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        w, h = before[: self.p], self.remembered("server", before[: self.p]).clone()
        for reply in replies:
            drift = self._alpha * (reply.model[: self.p] - w)
            h -= drift / self.clients
            self.memory[f"client {reply.client}"] = self.remembered(f"client {reply.client}", w) - drift
        self.memory["server"] = h
        after = mean([r.model for r in replies], [1] * len(replies))
        after[: self.p] -= h / self._alpha
        return after
