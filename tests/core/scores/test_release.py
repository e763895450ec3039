"""Sensitivities over exhaustive inputs, the scale of the noise, and the privacy of what comes out, by definition."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, laplace

from experiments.core.errors import SpecError
from experiments.core.scores.release import (
    Query,
    clip_of,
    clipped,
    clipped_variance,
    variance_bound,
    variance_query,
)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_the_bound_of_a_variance_is_attained_and_never_passed(count):
    """All maps of one pixel on a grid that holds the ends, and many beyond them, which are clipped."""
    grid = np.array(list(itertools.product(np.linspace(-2, 2, 5), repeat=count)))
    variances = clipped_variance(torch.from_numpy(grid.T[:, :, None]), 2.0)
    bound = variance_bound(2.0, count)
    assert float(variances.max()) == pytest.approx(bound, abs=1e-12) and float(variances.min()) == 0
    assert bound == pytest.approx(max(np.var(row) for row in grid), abs=1e-12)
    assert bound == (4.0 if count % 2 == 0 else pytest.approx(4 * (1 - 1 / count**2)))


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6), min_size=2, max_size=7), st.floats(0.01, 10))
def test_replacing_a_sample_changes_no_more_than_the_bound(values, clip):
    """Two samples of three pixels each, one of which could be the other's replacement."""
    maps = torch.tensor(values, dtype=torch.float64).reshape(len(values), 2, 3)
    query = variance_query(clipped_variance(maps, clip), clip, len(values))
    assert abs(float(query.values[0] - query.values[1])) <= query.bound * (1 + 1e-12)
    scores = clipped(maps[0, 0].abs(), clip)
    assert float(scores.values.max() - scores.values.min()) <= scores.bound == clip


@pytest.mark.parametrize("clip", [0.5, 3.0])
def test_a_mean_changes_by_the_bound_over_n_and_attains_it(clip):
    """Every pair of four scores that differ in one, from 0 over the clip to far above it."""
    levels = [0.0, clip / 2, clip, 100 * clip]
    worst = 0.0
    for scores in itertools.product(levels, repeat=4):
        for other in levels:
            pair = [clipped(torch.tensor([first, *scores[1:]]), clip) for first in (scores[0], other)]
            worst = max(worst, abs(float(pair[0].values.mean() - pair[1].values.mean())))
    assert worst == pytest.approx(clip / 4, rel=1e-12)


def test_the_noise_is_laplace_of_the_stated_scale():
    """Of a release (far from 0, where nothing is clamped), and of the means of many clients."""
    scores = torch.full((20_000,), 50.0)
    noise = (clipped(scores, 60.0).released(30.0, 0, "loss") - 50).numpy()
    assert kstest(noise, laplace(scale=2.0).cdf).pvalue > 1e-3
    assert np.abs(noise).mean() == pytest.approx(2.0, rel=0.03)
    means = [clipped(scores[:5], 60.0).released_mean(30.0, seed, "loss", 3) - 50 for seed in range(2000)]
    assert kstest(means, laplace(scale=0.4).cdf).pvalue > 1e-3
    variance = variance_query(torch.full((20_000,), 50.0), 8.0, 4).released(30.0, 0, "vog").square().numpy() - 50
    assert kstest(variance, laplace(scale=64 / 30).cdf).pvalue > 1e-3


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_no_output_is_likelier_than_exp_epsilon_allows(epsilon):
    """Two samples as unlike as can be: shares of 200,000 releases each in bins, and at 0, where many are clamped."""
    n = 200_000
    query = clipped(torch.cat([torch.zeros(n), torch.full((n,), 9.0)]), 3.0)
    out = query.released(epsilon, 0, "plis").numpy()
    edges = [-1e-9, 1e-9, *np.linspace(0.25, 4, 16)]
    low, high = (np.histogram(part, edges)[0] for part in np.split(out, 2))
    assert low[0] > n / 3 and low.min() > 100
    ratio = np.log(low / high)
    error = 5 * np.sqrt(1 / low + 1 / high)
    assert (np.abs(ratio) <= epsilon + error).all()
    assert np.abs(ratio).max() >= epsilon - error.max(), "more noise than needed"


def test_noise_goes_by_its_names():
    query = clipped(torch.arange(5.0), 3.0)
    one = query.released(1.0, 0, "loss")
    assert torch.equal(one, query.released(1.0, 0, "loss")) and one.dtype == torch.float64
    others = [query.released(1.0, 1, "loss"), query.released(1.0, 0, "vog"), query.released(1.0001, 0, "loss")]
    assert not any(torch.equal(one, other) for other in others)
    assert query.released_mean(1.0, 0, "loss", 1) != query.released_mean(1.0, 0, "loss", 2)


def test_clips_are_public_or_say_that_they_are_not():
    values = torch.tensor([0.0, 1.0, 2.0, 3.0, 40.0, -50.0])
    assert clip_of(values, 7.0, 0.5) == (7.0, True)
    assert clip_of(values, None, 0.5) == (2.0, False)
    assert clip_of(values, None, 1.0) == (50.0, False) and clip_of(values, None, 1e-9) == (50.0, False)


def test_what_cannot_be_released():
    for bound in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(SpecError, match="cannot be clipped"):
            clipped(torch.ones(2), bound)
    with pytest.raises(SpecError, match="cannot be clipped to 0"):
        variance_query(torch.ones(2), 1.0, 1)
    with pytest.raises(SpecError, match="nothing can be released at epsilon 0"):
        clipped(torch.ones(2), 1.0).released(0.0, 0, "loss")
    with pytest.raises(SpecError, match="client 4 has no score"):
        Query(torch.ones(0), 1.0).released_mean(1.0, 0, "loss", 4)
