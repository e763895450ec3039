"""What noise guarantees: differential privacy by opacus' accountants.

A mechanism here is the sampled Gaussian one: every step takes each unit (a sample, or a whole client) independently
with probability `rate`, sums contributions of norm at most C, and adds Gaussian noise of deviation noise * C.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.core.errors import MissingError, NumericalError, SpecError

ACCOUNTANTS = ("rdp", "prv")
_WHOLE = [*range(2, 64), 128, 256, 512, 1024]
_NEAR_ONE = [1 + 10 ** (-k / 4) for k in range(20, 4, -1)]  # with little noise, orders close to 1 bound best
MOST_OF_PRV = 600.0
"""Epsilon beyond which the numbers of the prv accountant overflow (about exp(709))."""


@dataclass(frozen=True)
class Spent:
    """(epsilon, delta)-differential privacy that was spent; the sum of two is what both together cost.

    The sum is basic composition (Dwork and Roth 2014, Theorem 3.16): it holds whatever the mechanisms are, each of
    which may look at what the others released. Mechanisms of one kind are accounted for more closely by `composed`.

    Attributes:
        epsilon: 0 or more, may be infinite. delta: 0 (pure differential privacy) up to 1.
    """

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not (self.epsilon >= 0 and 0 <= self.delta <= 1):
            raise SpecError(
                f"nothing spends epsilon {self.epsilon:g} and delta {self.delta:g}", "privacy", "give 0 or more"
            )

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.epsilon + other.epsilon, min(1.0, self.delta + other.delta))


@dataclass(frozen=True)
class Phase:
    """Steps of one mechanism: noise multiplier `noise`, sampling probability `rate`, number of `steps`.

    Raises:
        SpecError: a number out of range.
    """

    noise: float
    rate: float
    steps: int

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and 0 < self.rate <= 1 and self.steps >= 1):
            raise SpecError(
                f"no epsilon for noise {self.noise:g}, rate {self.rate:g} and {self.steps} steps",
                "privacy",
                "give a noise of 0 or more, a rate above 0 up to 1, 1 step or more",
            )


def epsilon(noise: float, rate: float, steps: int, delta: float, accountant: str = "rdp") -> float:
    """Epsilon of (epsilon, delta)-differential privacy after `steps` steps, by opacus.

    The accountants take every unit to join a step independently with probability `rate`, as Poisson sampling does;
    `draw_schedule` draws a fixed number of clients without replacement, which is accounted for as if it were that.

    Args:
        noise: the noise multiplier, in units of what one unit can change (for clients see `effective_noise`).
        rate: expected batch over samples; participants over clients.
        steps: local steps of DP-SGD; rounds of DP-FedAvg.
        delta: the probability that is left over.
        accountant: "rdp" (Mironov 2017, an upper bound) or "prv" (Gopi et al. 2021, nearly exact: by 0.01 too much,
            so that below about 0.02 rdp's bound is the smaller one, and is taken).

    Returns:
        Epsilon; infinite without noise, and where the accountant cannot tell (prv: above about 600).

    Raises:
        SpecError: an unknown accountant, a number out of range. MissingError: opacus is not installed.
        NumericalError: opacus' prv accountant fails, as it does for some numbers (opacus 601, 604).
    """
    return composed([Phase(noise, rate, steps)], delta, accountant)


def composed(phases: Sequence[Phase], delta: float, accountant: str = "rdp") -> float:
    """Epsilon at `delta` of all `phases` together, one after another on the same data; as `epsilon` otherwise."""
    if accountant not in ACCOUNTANTS:
        raise SpecError(f"unknown accountant {accountant!r}", "accountant", f"use one of {', '.join(ACCOUNTANTS)}")
    if not 0 < delta < 1:
        raise SpecError(f"no epsilon for delta {delta:g}", "privacy", "give a delta between 0 and 1")
    bound, exact = accountants()
    if any(phase.noise == 0 for phase in phases):
        return math.inf
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # about orders at the end of their range
        bound.history = exact.history = [(phase.noise, phase.rate, phase.steps) for phase in phases]
        spent = _bounded(bound, delta)
        if accountant == "prv":
            spent = min(spent, _nearly_exact(exact, delta)) if spent < MOST_OF_PRV else math.inf
    return math.inf if math.isnan(spent) else spent


def _bounded(accountant: Any, delta: float) -> float:
    """Epsilon by rdp: whole orders, then tenths beside the best, which cost twenty times as much each."""
    spent, best = accountant.get_privacy_spent(delta=delta, alphas=_WHOLE)
    if best < 12:
        tenths = [best + k / 10 for k in range(-9, 10)] + (_NEAR_ONE if best == 2 else [])
        spent = np.fmin(spent, accountant.get_privacy_spent(delta=delta, alphas=tenths)[0])
    return float(spent)


def most_spent(phases: Iterable[Phase], delta: float, accountant: str = "rdp") -> tuple[float, Phase]:
    """The largest epsilon of `phases`, each on data of its own (the clients), and the phase that spends it.

    The prv accountant, which takes its time, is asked only where rdp's bound leaves doubt.

    Returns:
        Nothing that any of them spends is above it. See `epsilon` for the rest.
    """
    bounds = sorted(((composed([phase], delta), phase) for phase in set(phases)), key=lambda found: -found[0])
    if accountant == "rdp":
        return bounds[0]
    most = -1.0, bounds[0][1]
    for bound, phase in bounds:
        if bound <= most[0]:
            break
        most = max(most, (composed([phase], delta, accountant), phase), key=lambda found: found[0])
    return most


def _nearly_exact(accountant: Any, delta: float) -> float:
    try:
        return float(accountant.get_epsilon(delta))
    except (RuntimeError, ValueError, ArithmeticError) as fault:
        parts = ", then ".join(f"noise {z:g}, rate {q:g}, {n} steps" for z, q, n in accountant.history)
        raise NumericalError(
            f"opacus' prv accountant fails for {parts} at delta {delta:g} ({fault})",
            "privacy.accountant",
            "use the accountant rdp",
        ) from fault


def accountants() -> tuple[Any, Any]:
    """New accountants "rdp" and "prv" of opacus; called before a run, too, whose hours would else end without epsilon.

    Raises:
        MissingError: opacus is not installed.
    """
    try:
        from opacus.accountants import PRVAccountant, RDPAccountant
    except ImportError as fault:
        raise MissingError(
            "opacus, which accounts for privacy, is not installed", "privacy", "pip install opacus"
        ) from fault
    return RDPAccountant(), PRVAccountant()
