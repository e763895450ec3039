"""What a run with differential privacy tells about its guarantee, and what it warns of before it starts."""

from __future__ import annotations

from experiments.core.engine.accounting import Phase, epsilon, most_spent
from experiments.core.engine.privacy import weakest_noise
from experiments.core.engine.problem import Problem
from experiments.core.engine.worlds import BASE, World
from experiments.core.spec.fields import AveragePrivacy, RunSpec, SgdPrivacy
from experiments.core.study.dpsgd import steps_of
from experiments.core.sweep.cell import Context, Row

_OFTEN = 0.01
"""Share of steps without a sample from which on it is said."""


def privacy_rows(spec: RunSpec, problem: Problem, world: World = BASE) -> list[Row]:
    """What `world` spends, in rows of the method `privacy`; empty without privacy.

    Of averages: `epsilon`, for the clients as FedAvg weighs them, and `epsilon_equal`, as if all had equal weight,
    which is what noise of deviation noise * clip / participants is meant for, and smaller. Of private local steps:
    `epsilon`, the largest over the clients (each for its own samples), with that client's `noise`, `rate` (expected
    batch over samples), `steps` and `delta`.
    """
    if isinstance(spec.privacy, AveragePrivacy):
        told = _of_averages(spec, spec.privacy, problem, world)
    elif isinstance(spec.privacy, SgdPrivacy):
        told = _of_steps(spec.privacy, problem, world)
    else:
        return []
    n = len(problem.federation.sizes)
    return [{"method": "privacy", "metric": metric, "value": value, "unit": "", "n": n} for metric, value in told]


def _of_averages(spec: RunSpec, privacy: AveragePrivacy, problem: Problem, world: World) -> list[tuple[str, float]]:
    sizes, schedule = problem.federation.sizes, problem.schedule
    rate = spec.clients_per_round / len(sizes)
    noises = {"epsilon": weakest_noise(privacy.noise, sizes, schedule, world), "epsilon_equal": privacy.noise}
    return [(name, epsilon(noise, rate, len(schedule), privacy.delta)) for name, noise in noises.items()]


def _of_steps(privacy: SgdPrivacy, problem: Problem, world: World) -> list[tuple[str, float]]:
    phases = phases_of(problem, world)
    if not phases:
        return []
    spent, phase = most_spent(phases, privacy.delta, privacy.accountant)
    shown = {"epsilon": spent, "noise": phase.noise, "rate": phase.rate, "steps": phase.steps, "delta": privacy.delta}
    return list(shown.items())


def phases_of(problem: Problem, world: World = BASE) -> list[Phase]:
    """The private steps of each client that takes part in a round of `world`."""
    if problem.mechanism is None:
        return []
    present = tuple(tuple(world.participants(t, drawn)) for t, drawn in enumerate(problem.schedule, 1))
    steps = steps_of(problem.federation.sizes, present, problem.local)
    return [Phase(problem.mechanism.noise, s.rate, s.count) for s in steps if s.count]


def tell_privacy(privacy: AveragePrivacy | SgdPrivacy | None, problem: Problem, context: Context) -> None:
    """Say what noise private steps get, and warn of a guarantee that is none and of steps of noise alone."""
    sizes = problem.federation.sizes
    if isinstance(privacy, AveragePrivacy):
        _warn_of_delta(privacy.delta, len(sizes), "the clients", context)
    if not isinstance(privacy, SgdPrivacy):
        return
    if privacy.noise is None and problem.mechanism is not None:
        context.tell(
            f"DP-SGD: noise multiplier {problem.mechanism.noise:.4g} keeps every client to epsilon "
            f"{privacy.epsilon:g} at delta {privacy.delta:g} ({privacy.accountant})"
        )
    _warn_of_delta(privacy.delta, min(sizes), "a client's samples", context)
    _warn_of_empty(problem, context)


def _warn_of_delta(delta: float, n: int, what: str, context: Context) -> None:
    if delta * n >= 1:
        context.warn(
            f"delta {delta:g} is 1 / {n} or more, and {n} are {what}: to publish one of them whole would be as "
            f"private; set privacy.delta well below {1 / n:.2g}"
        )


def _warn_of_empty(problem: Problem, context: Context) -> None:
    local = problem.local
    empty = {k: (1 - local.rate(n)) ** n for k, n in enumerate(problem.federation.sizes)}
    k = max(empty, key=lambda client: empty[client])
    if empty[k] > _OFTEN:
        n = problem.federation.sizes[k]
        context.warn(
            f"{empty[k]:.0%} of the local steps of client {k} will be noise alone, without a sample "
            f"({local.rate(n) * n:.3g} are expected in a batch); raise local.batch_size"
        )
