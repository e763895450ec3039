"""Correlations against closed forms and against the coverage their intervals promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.scores.correlation import pearson, spearman

BOTH = [pearson, spearman]
numbers = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=3, max_size=30)


def by_hand(x, y):
    x, y = np.asarray(x, float), np.asarray(y, float)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


@given(numbers)
def test_pearson_is_its_formula(pairs):
    x, y = zip(*pairs, strict=True)
    found = pearson(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.value) and math.isnan(found.low) and found.n == len(pairs)
    else:
        assert found.value == pytest.approx(by_hand(x, y), abs=1e-9)
        assert -1 <= found.low <= found.value + 1e-12 and found.value - 1e-12 <= found.high <= 1


def test_spearman_is_pearson_of_mean_ranks():
    assert spearman([10, 20, 20, 90], [1, 3, 2, 4]).value == pytest.approx(by_hand([1, 2.5, 2.5, 4], [1, 3, 2, 4]))
    assert spearman([1, 2, 3, 4, 5], np.exp([1, 2, 3, 4, 5])).value == pytest.approx(1)


def test_the_fisher_interval_of_a_textbook_case():
    # r = 0.5, n = 28: artanh r = 0.549306, standard error 1/5
    x = np.arange(28.0)
    noise = np.random.default_rng(0).standard_normal(28)
    x, noise = (x - x.mean()) / x.std(), noise - noise.mean()
    noise -= (noise @ x) / (x @ x) * x
    noise /= noise.std()
    found = pearson(x, 0.5 * x + math.sqrt(0.75) * noise)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (
        pytest.approx(math.tanh(0.549306 - 0.391993), abs=1e-5),
        pytest.approx(math.tanh(0.549306 + 0.391993), abs=1e-5),
    )


@pytest.mark.parametrize("score", BOTH)
@pytest.mark.parametrize("interval", ["fisher", "bootstrap"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(score, interval):
    draw, held = np.random.default_rng(1), 0
    truth = 0.6 if score is pearson else 6 / math.pi * math.asin(0.3)  # of a bivariate normal with correlation 0.6
    for trial in range(200):
        x = draw.standard_normal(60)
        y = 0.6 * x + 0.8 * draw.standard_normal(60)
        found = score(x, y, confidence=0.9, interval=interval, seed=trial, resamples=200)
        held += found.low <= truth <= found.high
    assert 0.82 <= held / 200 <= 0.97


@pytest.mark.parametrize("score", BOTH)
def test_the_bootstrap_repeats_by_its_seed(score):
    x, y = np.arange(20.0), np.random.default_rng(3).standard_normal(20)
    assert score(x, y, interval="bootstrap", seed=4) == score(x, y, interval="bootstrap", seed=4)
    assert score(x, y, interval="bootstrap", seed=4) != score(x, y, interval="bootstrap", seed=5)


@pytest.mark.parametrize("score", BOTH)
@pytest.mark.parametrize("bad", [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, math.inf, 3.0], [1.0, 2.0, math.nan, 3.0]])
def test_constant_or_diverged_input_has_no_correlation(score, bad):
    assert math.isnan(score(bad, [1.0, 2.0, 3.0, 4.0]).value)
    assert math.isnan(score([1.0, 2.0, 3.0, 4.0], bad).high)


@pytest.mark.parametrize("score", BOTH)
def test_requests_that_make_no_sense_are_refused(score):
    with pytest.raises(ValueError, match="at least 3"):
        score([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="3 values against 4"):
        score([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="confidence"):
        score([1.0, 2.0, 3.0], [1.0, 2.0, 3.5], confidence=1.0)


def test_edges_of_the_fisher_interval():
    three = pearson([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert (three.low, three.high) == (-1.0, 1.0)
    perfect = spearman([1, 2, 3, 4], [1, 2, 3, 4])
    assert perfect.low == pytest.approx(1) and perfect.high == pytest.approx(1)


def test_nearly_constant_estimates_do_not_stop_a_run():
    assert -1 <= pearson(1e8 + 1e-7 * np.arange(5), [1.0, 2.0, 3.0, 4.0, 6.0]).value <= 1
