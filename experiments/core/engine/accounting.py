"""What noise guarantees, and the noise that a guarantee needs: differential privacy by opacus' accountants.

A mechanism here is the sampled Gaussian one: every step takes each unit (a sample, or a whole client) independently
with probability `rate`, sums contributions of norm at most C, and adds Gaussian noise of deviation noise * C.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.core.errors import MissingError, NumericalError, SpecError

ACCOUNTANTS = ("rdp", "prv")
LARGEST_NOISE = 1e3
"""The largest noise multiplier that `noise_for` tries."""
_GRID = 2000  # noises exp(k / _GRID): 0.05 % apart, so that the answer does not depend on where a search began
_ORDERS = [1 + 10 ** (-k / 4) for k in range(20, 4, -1)]  # with little noise, orders close to 1 bound best
_MOST = 600.0  # epsilon beyond which the numbers of the prv accountant overflow (about exp(709))


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
        accountant: "rdp" (Mironov 2017, an upper bound) or "prv" (Gopi et al. 2021, nearly exact: 0.01 above).

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
        spent = float(bound.get_epsilon(delta, alphas=[*_ORDERS, *bound.DEFAULT_ALPHAS, 128, 256, 512, 1024]))
        if accountant == "prv":
            spent = _nearly_exact(exact, delta) if spent < _MOST else math.inf
    return math.inf if math.isnan(spent) else spent


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


@functools.cache
def noise_for(epsilon: float, rate: float, steps: int, delta: float, accountant: str = "prv") -> float:
    """The smallest noise multiplier whose `epsilon` is at most the target, to 0.05 %.

    Bisection over noises exp(k / 2000), so what is found never guarantees less than asked for and never falls as the
    target does. The prv accountant is asked near what rdp finds, and where it fails a noise counts as too small.

    Args:
        epsilon: the target. rate, steps, delta, accountant: as for `epsilon`.

    Raises:
        SpecError: no noise up to 1000 reaches it (says the smallest epsilon), or it is too large for prv.
        MissingError: opacus is not installed. NumericalError: opacus' prv accountant fails wherever it is asked.
    """
    if not epsilon > 0:
        raise SpecError(f"no noise guarantees epsilon {epsilon:g}", "privacy.epsilon", "give an epsilon above 0")
    if accountant == "prv" and epsilon >= _MOST:
        raise SpecError(f"the prv accountant cannot tell epsilon {epsilon:g}", "privacy.accountant", "use rdp")

    @functools.cache
    def told(k: int, by: str) -> float:
        return composed([Phase(_noise(k), rate, steps)], delta, by)

    found = _least(lambda k: told(k, "rdp"), epsilon, _index(LARGEST_NOISE), 64 if accountant == "prv" else 1)
    if accountant == "prv":
        found = _least(lambda k: _or_nothing(told, k), epsilon, found)
    reached = told(found, accountant)
    if reached > epsilon:
        raise SpecError(
            f"no noise up to {LARGEST_NOISE:g} reaches epsilon {epsilon:g} at delta {delta:g} in {steps} steps of rate "
            f"{rate:g}: the smallest that can be told is {reached:.3g}",
            "privacy.epsilon",
            f"give at least {reached:.3g}" + (", or use the accountant rdp" if accountant == "prv" else ""),
        )
    return _noise(found)


def _or_nothing(told: Callable[[int, str], float], k: int) -> float:
    try:
        return told(k, "prv")
    except NumericalError:
        return math.inf


def _least(spent: Callable[[int], float], target: float, start: int, width: int = 1) -> int:
    """The smallest k with spent(k) <= target (or up to `width` - 1 more); that of LARGEST_NOISE where none is.

    `spent` falls. Regula falsi in log(spent) against k, which is nearly straight, with a bisection where it twice
    fails to halve the bracket: an accountant takes up to seconds. The bracket grows from `start`.
    """

    def above(k: int) -> float:
        return math.log(max(spent(k), 1e-300) / target)

    def below(k: int) -> int:  # epsilon falls at least as fast as 1 / noise
        return k - 1 - math.ceil(-_GRID * above(k))

    high, low, most = start, None, _index(LARGEST_NOISE)
    while above(high) > 0:
        if high >= most:
            return most
        low, high = high, min(most, high + max(1, math.ceil(_GRID * min(1.0, above(high)))))
    low = below(high) if low is None else low
    while above(low) <= 0:
        low, high = below(low), low
    return _between(above, low, high, width)


def _between(above: Callable[[int], float], low: int, high: int, width: int) -> int:
    """The smallest k with above(k) <= 0, or up to `width` - 1 more, when it holds at `high` and not at `low`."""
    left, right, straight = above(low), above(high), 2
    while high - low > width:
        share = left / (left - right) if straight and math.isfinite(left) else 0.5
        k = min(high - 1, max(low + 1, low + math.ceil(share * (high - low))))
        value, before = above(k), high - low
        if value <= 0:
            high, right = k, value
        else:
            low, left = k, value
        straight = 2 if high - low <= before / 2 or not straight else straight - 1
    return high


def _noise(k: int) -> float:
    return math.exp(k / _GRID)


def _index(noise: float) -> int:
    return round(math.log(noise) * _GRID)


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
