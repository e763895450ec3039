"""The synthetic data against LEAF's published description, not against our own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.core.data.leaf_synthetic import LeafSynthetic
from experiments.core.data.partition import Natural


@pytest.fixture(scope="module")
def pool():
    return LeafSynthetic().load(0, None)


def test_thousand_clients_and_shapes(pool):
    assert pool.x.shape[1:] == (60,) and pool.x.dtype == torch.float32
    assert pool.classes == 5 and set(pool.y.tolist()) == {0, 1, 2, 3, 4}
    assert len(pool.names) == 1000
    assert len(Natural().split(pool, 0).clients) == 1000


def test_sizes_follow_the_truncated_lognormal():
    sizes = LeafSynthetic().sizes()
    assert sizes.min() >= 5 and sizes.max() == 1000
    # Median of int(lognormal(3, 2)) + 5 is e^3 + 5 = 25; P(capped) = P(Z > (ln 995 - 3) / 2) = 2.55 %.
    assert 21 <= np.median(sizes) <= 30
    assert 0.01 < (sizes == 1000).mean() < 0.045


def test_each_client_is_split_by_leafs_rule(pool):
    held = np.bincount(pool.owner.numpy(), minlength=1000)
    sizes = LeafSynthetic().sizes()
    assert (held == np.floor(0.6 * sizes + 1e-9)).all()
    assert held.min() == 3  # the smallest client has 5 samples
    assert len(pool.y) + len(pool.test_y) == sizes.sum()


def test_within_client_variance_falls_as_i_to_the_minus_1_2():
    x, _ = LeafSynthetic().client(3, 20000)
    expected = np.arange(1, 61) ** -1.2
    assert np.allclose(x.var(0) / expected, 1, atol=0.06)
    correlation = np.corrcoef(x.T)
    assert np.abs(correlation - np.eye(60)).max() < 0.05


def test_centres_scatter_around_a_centre_of_their_own():
    # v ~ N(B, 1), B ~ N(0, 1): spread over dimensions 1, and over clients' mean B + noise/60.
    centres = np.stack([LeafSynthetic().client(k, 400)[0].mean(0) for k in range(200)])
    assert abs(centres.std(1).mean() - 1) < 0.1
    assert abs(centres.mean(1).std() - (1 + 1 / 60) ** 0.5) < 0.2
    assert abs(centres.mean()) < 0.25


def test_labels_are_nearly_linear_in_the_inputs():
    block = LeafSynthetic(clients=50)
    Q, mu = block.shared()
    hits = []
    for k in range(20):
        x, y = block.client(k, 300)
        # All clients share Q up to a scalar near mu, so the sign of mu tells the argmax but for noise of 0.1.
        hits.append(((np.sign(mu) * (Q[0] + x @ Q[1:])).argmax(1) == y).mean())
    assert np.mean(hits) > 0.9


def test_the_runs_seed_changes_nothing_and_the_data_seed_does():
    small = LeafSynthetic(clients=5)
    first, again = small.load(0, None), small.load(7, None)
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    other = LeafSynthetic(clients=5, data_seed=1).load(0, None)
    assert first.x.shape != other.x.shape or not torch.equal(first.x, other.x)


def test_a_client_does_not_depend_on_how_many_others_there_are():
    few, many = LeafSynthetic(clients=3), LeafSynthetic(clients=9)
    assert np.array_equal(few.client(2, 10)[0], many.client(2, 10)[0])
