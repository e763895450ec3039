"""Optima of smooth models: one by L-BFGS and Newton steps, many that differ little by Newton steps side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from experiments.core.engine.descent import mean_gradient, room_for
from experiments.core.engine.device import Workers, halving
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.objective import Objective
from experiments.core.errors import NumericalError

Curvature = Callable[[Tensor], Tensor]
"""Rows [B, p] (or one vector [p]) times an inverse Hessian."""

EXPLICIT = 4096
"""Up to so many parameters a Hessian is formed and factorised; beyond, its products must do."""

_SMALL = 256  # up to so many parameters one pass for a whole Hessian beats one product after another
_CONTRACTION = 0.5  # of the gradient in a step: above it a Newton step takes a new Hessian
_PROGRESS = 0.8  # of the smallest gradient so far that counts as progress
_PATIENCE = 4  # steps without progress after which a world leaves the others and gets its own Hessian
_MEMORY = 15  # pairs of steps and gradient differences that correct the shared curvature
_SLOPE = 1e-4  # Armijo's constant
_MOST_PRODUCTS = 500  # of one conjugate-gradient solution


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        theta: [size] the state. gradient_norm: ||gradient|| there; above the tolerance when it did not converge.
        steps: L-BFGS and Newton steps taken.
    """

    theta: Tensor
    gradient_norm: float
    steps: int


@dataclass(frozen=True)
class Settled:
    """Where many minimisations ended: states [B, size], gradient norms [B], steps [B] of each.

    A norm above the tolerance says that the world did not converge.
    """

    states: Tensor
    gradient_norms: Tensor
    steps: Tensor


def minimise(
    objective: Objective,
    start: Tensor,
    tol: float = 1e-10,
    most: int = 2000,
    progress: Callable[[int, int], None] | None = None,
    polish: bool = True,
    explicit: int = EXPLICIT,
) -> Minimum:
    """A minimum of a smooth objective near `start` [size]: L-BFGS (Liu and Nocedal 1989), then Newton steps.

    L-BFGS goes down to a gradient of sqrt(tol), where differences of f begin to drown in rounding; Newton steps do the
    rest (unless their Hessians are too dear). f never rises by more than rounding.

    Args:
        objective: f; its buffers are constants.
        start: [size], not changed.
        tol: wanted ||gradient||.
        most: L-BFGS steps at most; and Newton steps at most.
        progress: called with (steps done, at most so many).
        polish: whether Newton steps follow; without them L-BFGS continues to `tol` itself.
        explicit: up to so many parameters Newton steps use the factorised Hessian, beyond it truncated conjugate
            gradients.

    Returns:
        The point reached, also where `tol` was not.

    Raises:
        NumericalError: f is not finite at the start.
    """
    tell = progress or (lambda done, of: None)
    goal = max(tol, tol**0.5) if polish else tol
    theta, taken = _lbfgs(objective, start, goal, most, lambda done: tell(done, (1 + polish) * most))
    if not polish:
        return Minimum(theta, float(objective.gradient(theta).norm()), taken)
    solver = _factorised if objective.net.p <= explicit else _conjugate
    minimum = _newton(objective, theta, tol, most, solver, lambda done: tell(taken + done, 2 * most))
    return replace(minimum, steps=taken + minimum.steps)


def _lbfgs(
    objective: Objective, start: Tensor, tol: float, most: int, tell: Callable[[int], None]
) -> tuple[Tensor, int]:
    """L-BFGS with strong Wolfe conditions until the gradient is below `tol` or f falls no more."""
    p, fixed = objective.net.p, start[objective.net.p :]
    best, (value, gradient) = start, objective.value_and_gradient(start)
    if not bool(torch.isfinite(value)):
        raise NumericalError("the training loss is not finite", "optimum", "start from other weights, check the data")
    w = start[:p].clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [w],
        max_iter=20,
        max_eval=100,
        tolerance_grad=tol / p**0.5,  # it looks at the largest component
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        value, w.grad = objective.value_and_gradient(torch.cat([w.detach(), fixed]))
        return float(value)

    taken = 0
    while taken < most and float(gradient.norm()) > tol:
        optimiser.step(closure)
        reached = torch.cat([w.detach(), fixed])
        lower, gradient = objective.value_and_gradient(reached)
        taken = int(optimiser.state[w]["n_iter"])
        tell(taken)
        if not bool(lower < value):
            break
        best, value = reached.clone(), lower
    return best, taken


_Solver = Callable[[Objective, Tensor], Curvature]


def _newton(
    objective: Objective, theta: Tensor, tol: float, most: int, solver: _Solver, tell: Callable[[int], None]
) -> Minimum:
    """Newton steps with backtracking; a Hessian is reused as long as a step with it halves the gradient."""
    (value, gradient), solve, taken = objective.value_and_gradient(theta), None, 0
    while taken < most and float(gradient.norm()) > tol:
        fresh, before = solve is None, float(gradient.norm())
        solve = solver(objective, theta) if solve is None else solve
        lower = _backtrack(objective, theta, value, gradient, -solve(gradient))
        if lower is None:
            if fresh:
                break
            solve = None
            continue
        theta, value, gradient = lower
        taken += 1
        tell(taken)
        if float(gradient.norm()) > _CONTRACTION * before:
            solve = None
    return Minimum(theta, float(gradient.norm()), taken)


def _backtrack(
    objective: Objective, theta: Tensor, value: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor] | None:
    """State, value and gradient after the longest step 1, 1/2, 1/4, ... that lowers f enough (Armijo); None if none.

    Where f changes by rounding only, a smaller gradient counts instead.
    """
    slope, length, p = float(gradient @ direction), 1.0, len(gradient)
    rounding = 8 * torch.finfo(value.dtype).eps * max(1.0, abs(float(value)))
    for _ in range(40):
        moved = torch.cat([theta[:p] + length * direction, theta[p:]])
        value_moved, slopes = objective.value_and_gradient(moved)
        change = float(value_moved - value)
        if change <= _SLOPE * length * slope < 0 or (abs(change) <= rounding and slopes.norm() < gradient.norm()):
            return moved, value_moved, slopes
        length /= 2
    return None


def inverse(hessian: Tensor) -> Curvature:
    """The inverse of a symmetric matrix [p, p] with eigenvalues replaced by their sizes (Nocedal and Wright 2006, 3.4).

    Along negative curvature a step thus goes downhill. Eigenvalues below 1e-8 of the largest count as that.
    """
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    sizes = values.abs().clamp(min=1e-8 * float(values.abs().max()))
    return lambda rows: ((rows @ vectors) / sizes) @ vectors.T


def _factorised(objective: Objective, theta: Tensor) -> Curvature:
    return inverse(objective.products(theta, torch.eye(objective.net.p, dtype=theta.dtype, device=theta.device)))


def _conjugate(objective: Objective, theta: Tensor, precondition: Curvature = lambda rows: rows) -> Curvature:
    """About H^-1 by conjugate gradients, cut at negative curvature (Nocedal and Wright 2006, Algorithm 7.1)."""

    def solve(gradient: Tensor) -> Tensor:
        solution, residual = torch.zeros_like(gradient), gradient
        close = precondition(residual)
        direction, square = close, residual @ close
        goal = float(gradient.norm()) * min(0.1, float(gradient.norm()) ** 0.5)
        for i in range(_MOST_PRODUCTS):
            product = objective.products(theta, direction[:, None])[:, 0]
            curved = direction @ product
            if float(curved) <= 0:
                return close if i == 0 else solution
            solution, residual = solution + square / curved * direction, residual - square / curved * product
            if float(residual.norm()) <= goal:
                break
            close, before = precondition(residual), square
            square = residual @ close
            direction = close + square / before * direction
        return solution

    return solve


def newton_worlds(
    formulation: Formulation,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    decay: float,
    mask: Tensor | None,
    curvature: Curvature,
    tol: float = 1e-10,
    most: int = 100,
    workers: Workers | None = None,
) -> Settled:
    """Minima of B worlds that differ little from one base world, each near its start: the leave-one-out truth.

    L-BFGS steps (Liu and Nocedal 1989) without a line search, all worlds' gradients side by side. What they start from
    is the base world's inverse Hessian (or an approximation, as of Gauss-Newton): right but for the one sample, so that
    whole steps get there. A world whose gradient does not shrink any more starts again with Newton steps of its own
    Hessian (from products preconditioned by the base world's where the model is not small), which never go uphill.

    Args:
        formulation: computes the gradients; its model must compute the same in training and evaluation mode.
        start: [B, size], best the base world's minimum; not changed.
        x, y, weight: the data, [B, n] weights (see `worlds.sample_weights`) or None. The loss is the mean over what
            remains.
        decay, mask: lambda and [p] (or None) of (lambda/2) ||mask * theta||^2.
        curvature: rows [B, p] -> rows times the inverse of the base world's Hessian, symmetric and positive definite.
        tol: wanted ||gradient||.
        most: steps at most; and Newton steps at most of a world on its own.
        workers: worlds are spread over their threads.

    Returns:
        States with their gradient norms, also of worlds that did not reach `tol`.
    """
    if workers is None:
        with Workers(1) as workers:
            return newton_worlds(formulation, start, x, y, weight, decay, mask, curvature, tol, most, workers)
    base = Objective(formulation.net, x, y, decay, mask)
    settled, left = _together(_Gradients(formulation, base, weight, workers), start, curvature, tol, most)
    small = base.net.p <= _SMALL

    def alone(world: int) -> Minimum:
        objective = replace(base, weight=None if weight is None else weight[world])
        solver = _factorised if small else lambda o, theta: _conjugate(o, theta, curvature)
        return _newton(objective, start[world], tol, most, solver, lambda done: None)

    for world, minimum in zip(left, workers.map(alone, left), strict=True):
        settled.states[world] = minimum.theta
        settled.gradient_norms[world] = minimum.gradient_norm
        settled.steps[world] = minimum.steps
    return settled


@dataclass(frozen=True)
class _Gradients:
    """All worlds' gradients, penalty included."""

    formulation: Formulation
    base: Objective
    weight: Tensor | None
    workers: Workers

    def __call__(self, theta: Tensor, worlds: Tensor) -> Tensor:
        """[A, p] at theta [A, size], the states of the `worlds` [A]."""
        base, threads = self.base, self.workers.threads
        weight = None if self.weight is None else self.weight[worlds]
        room = room_for(self.formulation, base.n, base.x, len(theta), threads)

        def some(rows: slice) -> Tensor:
            return mean_gradient(
                self.formulation, theta[rows], base.x, base.y, None if weight is None else weight[rows]
            )

        pieces = [slice(a, min(a + room, len(theta))) for a in range(0, len(theta), room)]
        gradients = torch.cat(list(self.workers.map(lambda piece: halving(some, piece), pieces)))
        return gradients + base.penalty_gradient(theta[:, : base.net.p].T).T


def _together(
    gradients: _Gradients, start: Tensor, curvature: Curvature, tol: float, most: int
) -> tuple[Settled, list[int]]:
    """Steps of all worlds with the shared curvature, and which worlds they leave above `tol`."""
    theta, p = start.clone(), gradients.base.net.p
    live = torch.arange(len(start), device=start.device)
    slopes = gradients(theta, live)
    norms, steps = slopes.norm(dim=1), torch.zeros(len(start), dtype=torch.long, device=start.device)
    best, stale, pairs, left = norms.clone(), torch.zeros_like(steps), _Pairs(), list[int]()
    for _ in range(most):
        going = norms[live] > tol
        live, slopes = live[going], slopes[going]
        pairs.keep(going)
        if len(live) == 0:
            break
        step = -pairs.applied(curvature, slopes)
        theta[live, :p] += step
        before, slopes = slopes, gradients(theta[live], live)
        pairs.add(step, slopes - before)
        norms[live], steps[live] = slopes.norm(dim=1), steps[live] + 1
        got_on = norms[live] <= _PROGRESS * best[live]
        stale[live] = torch.where(got_on, 0, stale[live] + 1)
        best[live] = torch.where(got_on, norms[live], best[live])
        stays = (stale[live] < _PATIENCE) & (norms[live] < 10 * best[live]) | (norms[live] <= tol)
        left += live[~stays].tolist()
        live, slopes = live[stays], slopes[stays]
        pairs.keep(stays)
    return Settled(theta, norms, steps), sorted({*left, *live[norms[live] > tol].tolist()})


class _Pairs:
    """Steps and gradient differences of the live worlds, newest last: L-BFGS with the shared curvature as its start."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def keep(self, rows: Tensor) -> None:
        """Forget the worlds that are not in `rows` [A] bool."""
        if not bool(rows.all()):
            self._pairs = [(s[rows], y[rows], rho[rows]) for s, y, rho in self._pairs]

    def add(self, step: Tensor, change: Tensor) -> None:
        """One more pair, [A, p] each; a world with no positive curvature along its step takes no notice of it."""
        along, size = (step * change).sum(1), change.square().sum(1)
        sound = along > 1e-12 * size.sqrt() * step.norm(dim=1)
        rho = torch.where(sound, 1 / torch.where(sound, along, torch.ones_like(along)), torch.zeros_like(along))
        self._pairs = [*self._pairs, (step, change, rho[:, None])][-_MEMORY:]

    def applied(self, curvature: Curvature, rows: Tensor) -> Tensor:
        """The corrected inverse Hessian times `rows` [A, p] (Nocedal and Wright 2006, Algorithm 7.4)."""
        projections: list[Tensor] = []
        for s, y, rho in reversed(self._pairs):
            projections.append(rho * (s * rows).sum(1, keepdim=True))
            rows = rows - projections[-1] * y
        rows = curvature(rows)
        for (s, y, rho), first in zip(self._pairs, reversed(projections), strict=True):
            rows = rows + (first - rho * (y * rows).sum(1, keepdim=True)) * s
        return rows
