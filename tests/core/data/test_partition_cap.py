"""FedML's rule: a client that holds the mean size or more gets nothing of the next label."""

from __future__ import annotations

import copy
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.core.data.partition import Dirichlet, _shared_out
from experiments.core.errors import SpecError
from tests.core.data.test_partition import check_cover, pool_of


def slowly(y, clients, alpha, rng):
    """The client of each sample, one client and one sample after another."""
    held = [[] for _ in range(clients)]
    for label in sorted(set(y.tolist())):
        rows = rng.permutation([i for i, own in enumerate(y.tolist()) if own == label])
        shares = rng.dirichlet([alpha] * clients)
        allowed = [p if len(mine) < len(y) / clients else 0.0 for p, mine in zip(shares, held, strict=True)]
        upto, given_out = 0.0, 0
        for client, share in enumerate(allowed):
            upto += share / sum(allowed)
            last = math.floor(upto * len(rows) + 0.5) if client < clients - 1 else len(rows)
            held[client] += rows[given_out:last].tolist()
            given_out = last
    return {row: client for client, rows in enumerate(held) for row in rows}


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.integers(1, 9), st.integers(1, 8), st.sampled_from([0.1, 0.5, 5.0]), st.integers(0, 99))
def test_the_rule_is_the_slow_one_and_bounds_the_sizes(n, clients, labels, alpha, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, labels, n)
    owner = _shared_out(y, clients, alpha, copy.deepcopy(rng), cap=True)
    assert dict(enumerate(owner.tolist())) == slowly(y, clients, alpha, rng)
    assert np.bincount(owner).max() < n / clients + max(Counter(y.tolist()).values())


def test_full_clients_are_passed_over_wherever_they_stand():
    class Scripted:
        """Shares as given, and nothing shuffled."""

        def __init__(self, *shares):
            self.shares = iter(shares)

        def dirichlet(self, alpha):
            return np.array(next(self.shares))

        def permutation(self, rows):
            return np.array(rows)

    y = np.repeat([0, 1, 2], 12)  # the mean of three clients is 12
    for full in range(3):
        first = np.eye(3)[full]  # all of label 0: exactly the mean, which is full (unlike in dirichlet_balanced)
        owner = _shared_out(y, 3, 1.0, Scripted(first, [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]), cap=True)
        assert (owner == full).sum() == 12 and set(owner[:12].tolist()) == {full}
    vanished = _shared_out(y[:24], 3, 1.0, Scripted([1, 0, 0], [1, 0, 0]), cap=True)
    assert Counter(vanished.tolist()) == {0: 12, 1: 6, 2: 6}


def test_in_a_partition():
    pool = pool_of(400, seed=3)
    capped = Dirichlet(clients=8, alpha=0.1, min_size=4, cap=True).split(pool, 1)
    check_cover(capped, pool)
    assert min(capped.sizes) >= 4
    free = Dirichlet(clients=8, alpha=0.1, min_size=1).split(pool, 1)
    assert free.sizes != capped.sizes and Dirichlet().cap is False


def test_a_minimum_that_is_never_met():
    with pytest.raises(SpecError, match=r"of at least 5 with alpha 0\.001 in 1000 draws") as caught:
        Dirichlet(clients=10, alpha=0.001, min_size=5, cap=True).split(pool_of(60, labels=2), 0)
    assert "lower clients or min_size" in caught.value.todo
    with pytest.raises(SpecError, match=r"of at least 10 with alpha 0\.5 \(that takes 100\)"):
        Dirichlet(cap=True).split(pool_of(60), 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_is_above_zero(alpha):
    with pytest.raises(ValidationError, match="alpha"):
        Dirichlet(alpha=alpha)
