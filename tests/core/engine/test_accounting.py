"""Guarantees and the noise for them: the Gaussian mechanism's closed form, and what opacus itself finds."""

import math

import pytest
from opacus.accountants import PRVAccountant
from opacus.accountants.utils import get_noise_multiplier
from scipy.optimize import brentq
from scipy.stats import norm

from experiments.core.engine.accounting import Phase, Spent, composed, epsilon, noise_for
from experiments.core.errors import NumericalError, SpecError


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
    for impossible in (0.0, -1.0, math.nan):
        with pytest.raises(SpecError, match="no noise guarantees"):
            noise_for(impossible, 0.1, 5, 1e-5)
    with pytest.raises(SpecError, match=r"prv accountant cannot tell epsilon 700; privacy.accountant; use rdp"):
        noise_for(700.0, 0.1, 5, 1e-5)


CIFAR = (512 / 50_000, int(30 * 50_000 / 512), 1e-5)
"""Rate, steps and delta of 30 epochs of CIFAR-10 in batches of 512."""


@pytest.mark.filterwarnings("ignore:Optimal order is")  # opacus' own orders end where ours go on
@pytest.mark.parametrize(
    ("target", "accountant", "printed"),
    [(1.0, "rdp", 2.402), (4.0, "rdp", 0.946), (8.0, "rdp", 0.717), (1.0, "prv", 2.246),
     pytest.param(4.0, "prv", 0.905, marks=pytest.mark.slow), pytest.param(8.0, "prv", 0.689, marks=pytest.mark.slow)],
)  # fmt: skip
def test_noise_is_the_least_and_what_opacus_finds_within_its_tolerance(target, accountant, printed):
    """Opacus stops within 0.01 of the target epsilon, above our noise, which is found to 0.05 %."""
    found = noise_for(target, *CIFAR, accountant)
    theirs = get_noise_multiplier(
        target_epsilon=target, target_delta=CIFAR[2], sample_rate=CIFAR[0], steps=CIFAR[1], accountant=accountant
    )
    assert theirs == pytest.approx(printed, abs=6e-4)
    assert epsilon(found, *CIFAR, accountant) <= target < epsilon(found * math.exp(-1 / 2000), *CIFAR, accountant)
    assert found <= theirs * math.exp(1 / 2000)
    assert epsilon(theirs, *CIFAR, accountant) >= target - 0.01


@pytest.mark.parametrize("target", [0.5, 1.0, 4.0, 8.0])
def test_noise_of_one_full_step_is_the_analytic_gaussian(target):
    """Balle and Wang 2018, Theorem 8: without sampling one step is the Gaussian mechanism; prv adds at most 0.02."""
    exact = brentq(lambda noise: gaussian(noise, 1e-5) - target, 0.1, 50)
    less = brentq(lambda noise: gaussian(noise, 1e-5) - (target - 0.02), 0.1, 50)
    assert exact <= noise_for(target, 1.0, 1, 1e-5) <= less * math.exp(1 / 2000)
    assert exact <= noise_for(target, 1.0, 1, 1e-5, "rdp") <= 1.1 * exact


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_noise_never_falls_with_the_target_and_does_not_depend_on_where_the_search_began(accountant):
    targets = [0.3, 0.99, 0.9999, 1.0, 1.0001, 1.01, 3.0, 3.0001, 30.0]
    found = [noise_for(target, 1.0, 8, 1e-4, accountant) for target in targets]
    assert found == sorted(found, reverse=True) and len(set(found)) >= 6
    for target, noise in zip(targets, found, strict=True):
        k = round(2000 * math.log(noise))
        told = {j: epsilon(math.exp((k + j) / 2000), 1.0, 8, 1e-4, accountant) for j in (-1, 0)}
        assert told[0] <= target < told[-1]


def test_an_epsilon_out_of_reach_says_the_smallest():
    with pytest.raises(SpecError, match=r"no noise up to 1000 reaches epsilon 0.001 .* smallest that can be told is 0"):
        noise_for(0.001, *CIFAR, "rdp")
    with pytest.raises(SpecError, match=r"give at least 0.0103, or use the accountant rdp") as told:
        noise_for(0.01, *CIFAR)
    assert told.value.where == "privacy.epsilon"
    assert epsilon(noise_for(0.01, *CIFAR, "rdp"), *CIFAR) <= 0.01
    assert noise_for(1e6, *CIFAR, "rdp") < 0.01


def test_where_the_prv_accountant_fails_more_noise_is_taken_or_it_is_said(monkeypatch):
    """As opacus 601 and 604 do ("Discrete mean differs ..."), below a noise and everywhere."""
    plain = PRVAccountant.get_epsilon
    best = noise_for(2.0, 1.0, 7, 1e-5)

    def failing(self, delta, least=best * 1.05, **more):
        if self.history[0][0] < least:
            raise RuntimeError("Discrete mean differs significantly from continuous mean.")
        return plain(self, delta, **more)

    noise_for.cache_clear()
    monkeypatch.setattr(PRVAccountant, "get_epsilon", failing)
    assert noise_for(2.0, 1.0, 7, 1e-5) == pytest.approx(best * 1.05, rel=6e-4)
    with pytest.raises(NumericalError, match=r"fails for noise 0.5, rate 1, 7 steps .*Discrete mean.*; use the acc"):
        epsilon(0.5, 1.0, 7, 1e-5, "prv")
    noise_for.cache_clear()
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda self, delta: failing(self, delta, math.inf))
    with pytest.raises(NumericalError, match=r"prv accountant fails"):
        noise_for(2.0, 1.0, 7, 1e-5)
    noise_for.cache_clear()


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
