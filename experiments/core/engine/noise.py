"""The noise that a guarantee needs: the smallest multiplier that keeps to an epsilon (see `accounting`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

from experiments.core.engine.accounting import MOST_OF_PRV, Phase, composed
from experiments.core.engine.accounting import epsilon as spent_by
from experiments.core.errors import NumericalError, SpecError

LARGEST_NOISE = 1e3
"""The largest noise multiplier that is tried."""
_GRID = 2000  # noises exp(k / _GRID): 0.05 % apart, so that the answer does not depend on where a search began


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
    if accountant == "prv" and epsilon >= MOST_OF_PRV:
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
            f"give at least {reached:.3g}",
        )
    return _noise(found)


def noise_for_all(epsilon: float, steps: Iterable[tuple[float, int]], delta: float, accountant: str = "prv") -> float:
    """The smallest noise multiplier with which none of several mechanisms spends more than `epsilon`.

    Args:
        steps: [(rate, steps)] of each (the clients), on data of its own. The rest as for `noise_for`.
    """
    found = 0.0
    for rate, count in sorted(set(steps), reverse=True):
        kept = found and spent_by(found, rate, count, delta) <= epsilon  # cheap, and prv is no larger
        if not kept:
            found = max(found, noise_for(epsilon, rate, count, delta, accountant))
    return found


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
        return math.log(max(spent(k) / target, 1e-4))  # rdp tells 0 where there is much noise

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
