"""An attack on private training: many runs with and without a canary, each with batches and noise of its own.

The attacker is the strongest that (epsilon, delta) speaks of: it knows all data but whether the canary is among them,
and sees every private gradient (white box). What it tells apart, no accounting can deny: `scores.attack` turns its
successes into a lower bound on epsilon (Jagielski et al. 2020; Nasr et al. 2021).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.dpsgd import Mechanism
from experiments.core.engine.draws import step_seed
from experiments.core.engine.evaluate import sample_losses
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.local import train_stack
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.scores.attack import log_ratio

_Floats = NDArray[np.float64]

_FAR = 10.0
"""How many clips, or mean lengths of the inputs, a canary's input is long."""


@dataclass(frozen=True)
class Evidence:
    """What the attacker has seen of B runs: [B] each.

    Attributes:
        gradient: log likelihood ratio of the canary being there, of all private gradients. loss: minus the canary's
            loss in nats in the last model, all that an attacker sees who is given the model alone (black box).
    """

    gradient: _Floats
    loss: _Floats


def require_auditable(problem: Problem) -> None:
    """Refuse what has no epsilon to attack, or no canary.

    Raises:
        SpecError: training is not private or not central, or inputs are no numbers.
    """
    data = problem.federation
    if problem.mechanism is None or not problem.mechanism.noise:
        raise SpecError("an audit is of private steps", "audit", "set privacy.kind=sgd, with an epsilon or a noise")
    if len(data.sizes) != 1:
        raise SpecError(f"an audit is of one client's steps, not of {len(data.sizes)}", "audit", "partition.clients=1")
    if not data.x.is_floating_point() or data.predicts_numbers:
        raise SpecError("an audit takes inputs that are numbers, and classes", "audit", "choose other data")


def with_canary(problem: Problem, start: Tensor) -> Problem:
    """The problem with a canary in the place of its last training sample, so that rates and steps stay.

    Its input is long, so that its gradient is clipped, and lies where the other inputs lie least (on digits: in pixels
    that are black in all others), so that no other sample's gradient looks like its own; its label is the one that
    the initial model believes least.

    Raises:
        See `require_auditable`.
    """
    require_auditable(problem)
    assert problem.mechanism is not None
    data = problem.federation
    x, y = data.x.clone(), data.y.clone()
    length = _FAR * max(problem.mechanism.clip, float(x[:-1].flatten(1).norm(dim=1).mean()))
    x[-1] = length * rarest(x[:-1].flatten(1)).reshape(x.shape[1:])
    y[-1] = problem.net.call(start, x[-1:])[0].argmin()
    return replace(problem, federation=replace(data, x=x, y=y))


def rarest(x: Tensor) -> Tensor:
    """The direction [d], of length 1, along which x [n, d] are shortest; one by name where they are 0 along many."""
    values, vectors = torch.linalg.eigh((x.T @ x).double())
    flat = vectors[:, values <= values[0].clamp(min=0) + 1e-9 * values[-1]]
    drawn = torch.from_numpy(stream(0, "canary").normal(size=x.shape[1])).to(flat)
    direction = flat @ (flat.T @ drawn)
    return (direction / direction.norm()).to(x)


def attacked(
    problem: Problem,
    start: Tensor,
    formulation: Formulation,
    runs: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Train the runs of those numbers side by side, the odd ones without the canary, and look at every step.

    A run's number names its batches and its noise: they are drawn as in any private training, and independent of all
    other runs'. All divide by the same expected batch, which says nothing of the canary.

    Args:
        problem: one with a canary (see `with_canary`). start: [size] initial state. runs: numbers from 0 on.
        progress: called with (rounds done, rounds in all).
    """
    data, rounds, local = problem.federation, len(problem.schedule), problem.local
    theta, seen = start.repeat(len(runs), 1), torch.zeros(len(runs), dtype=torch.float64)
    present = torch.tensor([run % 2 == 0 for run in runs])
    for t in range(1, rounds + 1):
        way = _Attacked(problem, formulation, runs, present, t, seen)
        steps: list[Tensor | None] = [None] * local.count(len(data.y))
        theta = train_stack(way, theta, data.x, data.y, None, steps, local, local.lr_at(t), draws=lambda step: step)
        progress(t, rounds)
    loss = sample_losses(formulation, theta, data.x[-1:], data.y[-1:])[:, 0]
    return Evidence(seen.numpy(), -loss.double().cpu().numpy())


class _Attacked(Formulation):
    """The private gradient of each run, noted by the attacker in `seen` [B] before anybody steps along it."""

    name = "attacked"
    names_draws = True

    def __init__(
        self, problem: Problem, inner: Formulation, runs: Sequence[int], present: Tensor, t: int, seen: Tensor
    ) -> None:
        super().__init__(inner.net)
        assert problem.mechanism is not None
        self._inner, self._mechanism, self._t, self._seen = inner, problem.mechanism, t, seen
        self._seeds = [int(stream(problem.seed, "audit", run=run).integers(2**31)) for run in runs]
        n = len(problem.federation.y)
        self._rate, self._step = problem.local.rate(n), 0
        self._weights = _drawn(problem, self._seeds, t)
        self._weights[:, ~present, -1] = 0

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Never by itself: it is put around another one."""
        return False

    def at(self, draws: int) -> Formulation:
        """The same, at the round's step of that number."""
        named = copy.copy(self)
        named._step = draws
        return named

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """[B, p]: of each run its own; see `Formulation.gradient`."""
        clip = self._mechanism.clip
        drawn = self._weights[self._step].to(theta)
        total, _ = self._inner.clipped(theta, x, y, drawn, clip)
        total = total + _noise(self._mechanism, self._seeds, theta, self.net.p, (self._t, self._step))
        own, _ = self._inner.clipped(theta, x[-1:], y[-1:], None, clip)
        rest, _ = self._inner.clipped(theta, x[:-1], y[:-1], None, clip)  # all of it known but which are drawn
        inner = ((total - self._rate * rest) * own).sum(1).double()
        norm = own.norm(dim=1).double()
        ratio = log_ratio(inner.cpu().numpy(), norm.cpu().numpy(), self._rate, clip * self._mechanism.noise)
        self._seen += torch.from_numpy(ratio)
        return total / (self._rate * len(y))

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        return self._inner.outputs(theta, x)


def _drawn(problem: Problem, seeds: Sequence[int], t: int) -> Tensor:
    """Which samples are in each step of round t: [steps, B, n] of 0 and 1."""
    n = len(problem.federation.y)
    weights = torch.zeros(problem.local.count(n), len(seeds), n)
    for b, seed in enumerate(seeds):
        for step, rows in enumerate(problem.local.poisson_batches(n, seed, 0, t)):
            weights[step, b, slice(None) if rows is None else rows] = 1
    return weights


def _noise(mechanism: Mechanism, seeds: Sequence[int], like: Tensor, p: int, at: tuple[int, int]) -> Tensor:
    """[B, p] the noise of each run, as the engine draws it for one."""
    t, step = at
    draws = [mechanism.draw(p, like, step_seed(seed, client=0, round=t, step=step)) for seed in seeds]
    return torch.stack(draws)
