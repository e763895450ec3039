"""Guarantees and the noise for them: the Gaussian mechanism's closed form, and what opacus itself finds."""

import math

import pytest
from opacus.accountants import RDPAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from experiments.core.engine.accounting import Phase, Spent, composed, epsilon, most_spent
from experiments.core.errors import SpecError


def gaussian(noise, delta):
    """Epsilon of one Gaussian mechanism, by its closed form (Balle and Wang 2018, Theorem 8)."""
    mu = 1 / noise

    def gap(eps):
        return norm.cdf(mu / 2 - eps / mu) - math.exp(eps + norm.logcdf(-mu / 2 - eps / mu)) - delta

    return brentq(gap, 0, mu**2 + 20 * mu + 20, xtol=1e-10)


@pytest.mark.parametrize(("noise", "rounds"), [(8.0, 1), (2.0, 5), (1.0, 1), (0.6, 3), (0.2, 2)])
def test_accountants_bound_the_gaussian_mechanism(noise, rounds):
    """With every client in every round, T rounds are one Gaussian mechanism of noise z / sqrt(T)."""
    exact = gaussian(noise / math.sqrt(rounds), 1e-5)
    assert exact <= epsilon(noise, 1.0, rounds, 1e-5, "prv") <= exact + 0.03
    assert exact <= epsilon(noise, 1.0, rounds, 1e-5) <= 1.25 * exact + 0.05


def test_little_noise_guarantees_next_to_nothing_and_says_how_little():
    """Table II of Gill et al. 2025: at noise 0.003 epsilon is in the hundred thousands; no order above 1.1 tells it."""
    mu = math.sqrt(15) / 0.003
    found = epsilon(0.003, 1.0, 15, 1e-5)
    assert mu**2 / 2 < found < 1.01 * (mu**2 / 2 + mu * math.sqrt(2 * math.log(1e5)))
    assert epsilon(0.003, 0.1, 15, 1e-5) < found
    assert epsilon(0.003, 0.1, 15, 1e-5, "prv") == math.inf  # it cannot tell, and says so at once
    assert epsilon(0.0, 0.1, 15, 1e-5) == epsilon(0.0, 0.1, 15, 1e-5, "prv") == math.inf


def test_sampling_helps_and_rounds_cost():
    told = [epsilon(1.0, rate, rounds, 1e-5) for rate, rounds in ((0.02, 15), (0.1, 15), (0.1, 40), (1.0, 40))]
    assert told == sorted(told) and len(set(told)) == 4
    assert epsilon(1.0, 0.1, 15, 1e-5, "prv") < epsilon(1.0, 0.1, 15, 1e-5)
    assert epsilon(1.0, 0.1, 15, 1e-3) < epsilon(1.0, 0.1, 15, 1e-5) < epsilon(0.9, 0.1, 15, 1e-5)


@pytest.mark.parametrize(
    "given",
    [(-1.0, 0.1, 5, 1e-5), (1.0, 0.0, 5, 1e-5), (1.0, 1.1, 5, 1e-5), (1.0, 0.1, 0, 1e-5), (1.0, 0.1, 5, 0.0),
     (math.nan, 0.1, 5, 1e-5)],
)  # fmt: skip
def test_guarantees_that_cannot_be(given):
    with pytest.raises(SpecError, match="no epsilon"):
        epsilon(*given)
    with pytest.raises(SpecError, match="unknown accountant 'gdp'"):
        epsilon(1.0, 0.1, 5, 1e-5, "gdp")


def test_phases_of_several_noises_compose_as_one_gaussian():
    """Without sampling, T_i steps of noise z_i are one Gaussian mechanism with mu^2 = sum T_i / z_i^2."""
    phases = [Phase(4.0, 1.0, 3), Phase(2.0, 1.0, 2), Phase(5.0, 1.0, 1)]
    exact = gaussian(1 / math.sqrt(3 / 16 + 2 / 4 + 1 / 25), 1e-5)
    assert exact <= composed(phases, 1e-5, "prv") <= exact + 0.03
    assert exact <= composed(phases, 1e-5) <= 1.25 * exact + 0.05
    sampled = [Phase(1.0, 0.05, 40), Phase(1.3, 0.1, 20)]
    apart = sum(composed([phase], 5e-6, "prv") for phase in sampled)
    together = composed(sampled, 1e-5, "prv")
    assert max(composed([phase], 1e-5, "prv") for phase in sampled) < together < apart
    assert composed([*phases, Phase(0.0, 1.0, 1)], 1e-5) == math.inf


def test_what_is_spent_adds_up():
    assert Spent(1.0, 1e-5) + Spent(0.5) == Spent(1.5, 1e-5)
    assert (Spent(1.0, 0.7) + Spent(math.inf, 0.7)) == Spent(math.inf, 1.0)
    for wrong in ((-1.0, 0.0), (1.0, -0.1), (1.0, 1.1), (math.nan, 0.0)):
        with pytest.raises(SpecError, match="nothing spends"):
            Spent(*wrong)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_client_that_spends_most(accountant):
    phases = [Phase(2.0, 1.0, 3), Phase(1.0, 1.0, 2), Phase(1.0, 1.0, 1), Phase(9.0, 1.0, 9)]
    spent = {phase: epsilon(phase.noise, phase.rate, phase.steps, 1e-5, accountant) for phase in phases}
    assert most_spent(phases, 1e-5, accountant) == (max(spent.values()), phases[1])
    assert most_spent([Phase(0.0, 0.5, 1), phases[0]], 1e-5, accountant) == (math.inf, Phase(0.0, 0.5, 1))


def test_prv_never_tells_more_than_rdp():
    assert epsilon(200.0, 0.01, 30, 1e-5, "prv") == epsilon(200.0, 0.01, 30, 1e-5) < 0.01


@pytest.mark.filterwarnings("ignore:Optimal order is")
def test_orders_are_as_good_as_all_of_opacus_at_once():
    """Few orders are tried; the bound is that of all orders that are tried anywhere."""
    tenths = [1 + k / 10 for k in range(1, 109)]
    every = [*(1 + 10 ** (-k / 4) for k in range(20, 4, -1)), *tenths, *range(12, 64), 128, 256, 512, 1024]
    for noise, rate, steps in ((0.4, 0.01, 50), (0.7, 0.2, 5), (1.0, 0.05, 40), (1.5, 0.01, 500), (6.0, 0.01, 9)):
        accountant = RDPAccountant()
        accountant.history = [(noise, rate, steps)]
        assert epsilon(noise, rate, steps, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5, alphas=every), rel=1e-12)
