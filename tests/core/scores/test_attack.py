"""Lower bounds on epsilon: mechanisms of known epsilon, intervals by scipy, and bounds that false claims break."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from experiments.core.engine.seeds import stream
from experiments.core.scores.attack import epsilon_of, log_ratio, proven, proven_gaussian, upper_rate
from tests.core.engine.test_accounting import gaussian

DELTA = 1e-5


def draws(mu, n, **names):
    """Outputs of a Gaussian mechanism with and without the sample, mu deviations apart."""
    rng = stream(0, "attack test", mu=str(mu), **names)
    return rng.normal(mu, 1, n), rng.normal(0, 1, n)


@pytest.mark.parametrize(("count", "n"), [(0, 5), (1, 5), (4, 5), (3, 200), (200, 200)])
def test_upper_ends_are_those_of_scipy(count, n):
    found = float(upper_rate(count, n, 0.025))
    assert found == pytest.approx(binomtest(count, n).proportion_ci(0.95, "exact").high, rel=1e-9)


@pytest.mark.parametrize("judge", [proven, proven_gaussian])
def test_a_true_guarantee_is_hardly_ever_denied(judge):
    """At 80 % confidence, so that 150 repetitions can tell: bounds above the truth are at most that rare."""
    epsilon = gaussian(1 / 1.5, DELTA)
    found = [judge(*draws(1.5, 100, repetition=i), DELTA, 0.8).epsilon for i in range(150)]
    assert np.mean(np.array(found) > epsilon) < 0.2 + 3 * math.sqrt(0.16 / 150)
    assert max(found) > 0


def test_many_runs_prove_much_and_more_than_a_false_claim():
    """Noise five times too small: mu 5 where 1 is claimed."""
    stated = gaussian(1.0, DELTA)
    plain, tight = (judge(*draws(1.0, 4000), DELTA) for judge in (proven, proven_gaussian))
    assert 0.5 < plain.epsilon < tight.epsilon < stated < 1.2 * tight.epsilon
    for judge in (proven, proven_gaussian):
        broken = judge(*draws(5.0, 1000), DELTA)
        assert stated < broken.epsilon <= broken.most and broken.tpr > 0.9 > 0.1 > broken.fpr
    assert broken.runs == 500


def test_the_bound_is_the_formula_on_the_half_that_did_not_choose():
    present, absent = draws(3.0, 400)
    found = proven(present, absent, 1e-3)
    fnr = (present[1::2] < found.threshold).sum()
    fpr = (absent[1::2] >= found.threshold).sum()
    a, b = (binomtest(int(k), 200).proportion_ci(0.95, "exact").high for k in (fnr, fpr))
    expected = max(math.log((1 - 1e-3 - a) / b), math.log((1 - 1e-3 - b) / a))
    assert found.epsilon == pytest.approx(expected, rel=1e-9)
    assert (found.tpr, found.fpr) == (1 - fnr / 200, fpr / 200)
    best = binomtest(0, 200).proportion_ci(0.95, "exact").high
    assert found.most == pytest.approx(math.log((1 - 1e-3 - best) / best), rel=1e-9)


def test_runs_that_look_alike_prove_nothing():
    present, absent = draws(0.0, 500)
    assert proven(present, absent, DELTA).epsilon < 0.5
    assert (
        proven(np.ones(50), np.ones(50), DELTA).epsilon == proven_gaussian(np.ones(50), np.ones(50), 0.1).epsilon == 0
    )
    for wrong in ([1.0], [1.0, math.nan]):
        with pytest.raises(ValueError, match="two finite runs"):
            proven(wrong, [1.0, 2.0], DELTA)


@pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
def test_epsilon_of_a_gaussian_mechanism(mu):
    assert epsilon_of(mu, DELTA) == pytest.approx(gaussian(1 / mu, DELTA), abs=1e-7)
    assert epsilon_of(0.0, DELTA) == epsilon_of(-1.0, DELTA) == epsilon_of(1e-9, DELTA) == 0


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_the_evidence_is_the_log_of_two_densities(rate):
    """Along the canary's gradient c of length 1.3, in noise of deviation 0.7: a mixture against no canary."""
    o = np.linspace(-3, 4, 15)
    mixture = rate * norm.pdf(o, 1.3, 0.7) + (1 - rate) * norm.pdf(o, 0, 0.7)
    assert log_ratio(o * 1.3, np.full(15, 1.3), rate, 0.7) == pytest.approx(np.log(mixture / norm.pdf(o, 0, 0.7)))
