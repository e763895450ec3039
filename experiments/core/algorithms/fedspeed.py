"""FedSpeed (Sun et al. 2023): a corrected proximal term, and steps along gradients taken a little uphill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.engine.algorithm import (
    Algorithm,
    Batch,
    Finished,
    Local,
    Plain,
    Reply,
    Setup,
    State,
    Turn,
    Weighting,
    counted_samples,
    mean,
)  # fmt: skip

if TYPE_CHECKING:
    from torch import Tensor, nn

    from experiments.core.engine.formulations import Formulation
    from experiments.core.engine.net import Net

_TINY = 1e-12  # least norm that a gradient is divided by


class FedSpeed(Block, Algorithm):
    """Prox-correction and extra gradient ascent (FedSpeed, Sun et al. 2023, Algorithm 1).

    In each local step client k takes the gradient g_1 at theta, goes up to theta + rho g_1 and takes the gradient g_2
    there, on the same batch; then it steps along (1 - alpha) g_1 + alpha g_2 - c_k + (theta - w) / lambda. After its
    steps c_k becomes c_k - (theta_k - w) / lambda, and theta_k - lambda c_k is sent, of which the server takes the
    plain mean. All c_k begin at zero. The released code divides the ascent by the norm of g_1 (`normalised`); it adds
    lambda's correction at the server, averaged over all clients, and clips gradients, which this does not.

    Weight decay counts as part of each client's objective, beside g_1 and g_2. Buffers are moved at theta alone, and
    averaged plainly. Two gradients a step take twice the time. With privacy it is rejected: what is sent
    is not the model that is clipped, and a step takes two gradients of a sample.
    """

    kind: Literal["fedspeed"] = "fedspeed"
    lam: float = Field(gt=0, description="lambda, the proximal term is |w - w_t|^2 / (2 lambda)")
    rho: float = Field(0.1, ge=0, description="how far up the second gradient is taken")
    alpha: float = Field(1.0, ge=0, le=1, description="share of the second gradient")
    normalised: bool = Field(True, description="go up rho whatever the gradient's norm; false: rho times the gradient")

    @property
    def weighting(self) -> Weighting:
        """Each participant counts the same."""
        return "clients"

    def init(self, start: Tensor, setup: Setup) -> State:
        """Zeros: c_k [p] of every client."""
        return State(start.new_empty(1, 0), start.new_zeros(1, setup.p))

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Local training with two gradients a step; theta_k - lambda c_k is sent."""
        return _Uphill(self, turn.p, start, client)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean of what was sent is the next model."""
        return mean, state

    def plain(self, setup: Setup) -> Plain:
        """The paper's loop over clients, c_k by the client's number."""
        return _PlainSpeed(setup, self)

    def unfit(self, local: Any) -> list[str]:
        """Where the corrected objective is minimal its gradient is 0; decay beside the gradient is not in it."""
        fits = local.optimizer != "adamw" or not local.weight_decay
        return [] if fits else ["local: fedspeed needs weight decay in the gradient (sgd, adam), not adamw's beside it"]


class _Uphill(Local):
    def __init__(self, algorithm: FedSpeed, p: int, start: Tensor, client: Tensor) -> None:
        self._algorithm, self._p, self._start, self._client = algorithm, p, start, client

    def step(self, formulation: Formulation, theta: Tensor, batch: Batch) -> Tensor:
        a, data = self._algorithm, (batch.x, batch.y, batch.weight)
        gradient, above = formulation.gradient(theta, *data).clone(), theta.clone()
        norm = gradient.norm(dim=1, keepdim=True).clamp(min=_TINY) if a.normalised else 1.0
        above[:, : self._p] += a.rho * gradient / norm
        return self.gradient(gradient.lerp_(formulation.gradient(above, *data), a.alpha), theta)

    def gradient(self, gradient: Tensor, theta: Tensor) -> Tensor:
        return gradient.sub_(self._client).add_(self._moved(theta), alpha=1 / self._algorithm.lam)

    def finish(self, theta: Tensor, steps: int) -> Finished:
        client, sent = self._client - self._moved(theta) / self._algorithm.lam, theta.clone()
        sent[:, : self._p] -= self._algorithm.lam * client
        return Finished(sent, client)

    def _moved(self, theta: Tensor) -> Tensor:
        return theta[:, : self._p] - self._start[:, : self._p]


class _PlainSpeed(Plain):
    def __init__(self, setup: Setup, algorithm: FedSpeed) -> None:
        super().__init__(setup)
        self._algorithm = algorithm

    def loss(self, net: Net, module: nn.Module, batch: Batch, turn: Turn) -> Tensor:
        """Its gradient is (1 - alpha) g_1 + alpha g_2; the second pass draws what the first drew."""
        import torch
        from torch.func import functional_call

        a, (x, y, some) = self._algorithm, counted_samples(net, batch)
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            here = net.losses(module(x), y)[some].mean()
        up = torch.autograd.grad(here, list(named.values()), retain_graph=True, materialize_grads=True)
        norm = float(torch.cat([g.flatten() for g in up]).norm().clamp(min=_TINY)) if a.normalised else 1.0
        above = {name: p + a.rho * g / norm for (name, p), g in zip(named.items(), up, strict=True)}
        buffers = {name: b.clone() for name, b in module.named_buffers()}
        there = net.losses(functional_call(module, {**above, **buffers}, (x,)), y)[some].mean()
        return (1 - a.alpha) * here + a.alpha * there

    def correct(self, client: int, trained: Sequence[Any], start: Sequence[Tensor]) -> None:
        import torch

        linear, at = self._of(client, torch.cat([anchor.flatten() for anchor in start])), 0
        for parameter, anchor in zip(trained, start, strict=True):
            part = linear[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
            added = (parameter.detach() - anchor) / self._algorithm.lam - part
            parameter.grad = added if parameter.grad is None else parameter.grad + added

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        sent, lam = [], self._algorithm.lam
        for reply in replies:
            w = before[: self.p]
            corrected = self._of(reply.client, w) - (reply.model[: self.p] - w) / lam
            self.memory[f"client {reply.client}"] = corrected
            sent.append(reply.model.clone())
            sent[-1][: self.p] -= lam * corrected
        return mean(sent, [1] * len(sent))

    def _of(self, client: int, like: Tensor) -> Tensor:
        return self.memory.get(f"client {client}", like.new_zeros(len(like)))
