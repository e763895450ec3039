"""The noise for an epsilon: against opacus' own search, and the Gaussian mechanism's closed form."""

import math

import pytest
from opacus.accountants import PRVAccountant
from opacus.accountants.utils import get_noise_multiplier
from scipy.optimize import brentq

from experiments.core.engine.accounting import epsilon
from experiments.core.engine.noise import noise_for, noise_for_all
from experiments.core.errors import NumericalError, SpecError
from tests.core.engine.test_accounting import gaussian

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


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_an_epsilon_out_of_reach_says_the_smallest(accountant):
    with pytest.raises(SpecError, match=r"no noise up to 1000 reaches epsilon 0.001 at .*told is 0.0035") as told:
        noise_for(0.001, 0.01, 300, 1e-5, accountant)
    assert told.value.where == "privacy.epsilon" and told.value.todo.startswith("give at least 0.0035")
    reached = noise_for(0.0037, 0.01, 300, 1e-5, accountant)
    assert epsilon(reached, 0.01, 300, 1e-5, accountant) <= 0.0037
    assert noise_for(1e6, 0.01, 300, 1e-5, "rdp") < 0.01


def test_the_noise_of_several_clients_is_what_the_heaviest_needs():
    """Whose rate is larger, or whose steps are more, or both: no order of the list changes it."""
    clients = [(0.5, 2), (0.2, 30)]
    needed = [noise_for(2.0, *client, 1e-5, "rdp") for client in clients]
    assert needed[0] < needed[1]
    for some in (clients, clients[::-1], clients[:1]):
        wanted = max(needed[clients.index(client)] for client in some)
        assert noise_for_all(2.0, some, 1e-5, "rdp") == wanted
    assert noise_for_all(2.0, [(1.0, 3), (1.0, 4)], 1e-5) == noise_for(2.0, 1.0, 4, 1e-5)


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


def test_targets_that_cannot_be():
    for impossible in (0.0, -1.0, math.nan):
        with pytest.raises(SpecError, match="no noise guarantees"):
            noise_for(impossible, 0.1, 5, 1e-5)
    with pytest.raises(SpecError, match=r"prv accountant cannot tell epsilon 700; privacy.accountant; use rdp"):
        noise_for(700.0, 0.1, 5, 1e-5)
