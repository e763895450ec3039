"""TraceFL's partition: the balancing rule, and each step of the cleaning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.core.data.dirichlet_balanced import DirichletBalanced, balanced_owners
from experiments.core.errors import SpecError
from experiments.core.names import numbered
from tests.core.data.test_partition import pool_of


class Scripted:
    """A generator whose shares are given, and which shuffles nothing."""

    def __init__(self, shares):
        self.shares = iter(shares)

    def dirichlet(self, alpha):
        return np.array(next(self.shares))

    def permutation(self, rows):
        return np.array(rows)


def test_clients_above_the_mean_get_nothing_of_later_labels():
    y = np.repeat([0, 1, 2], 12)  # 36 samples, so the mean of three clients is 12
    # Label 0: 12 to client 0, exactly the mean, which is still open. Label 1: 6 more for client 0, now above.
    # Label 2: what client 0 draws, 0.5, is given to the others in the ratio 0.4 : 0.1.
    owner = balanced_owners(y, 3, 1.0, Scripted([[1, 0, 0], [0.5, 0.25, 0.25], [0.5, 0.4, 0.1]]))
    held = [[int(((owner == k) & (y == label)).sum()) for label in range(3)] for k in range(3)]
    assert held == [[12, 6, 0], [0, 3, 9], [0, 3, 3]]  # cuts at 0, 9.6 and 12 of 12


def test_shares_that_vanish_in_floating_point_are_equal():
    owner = balanced_owners(np.repeat([0, 1], [13, 12]), 3, 1.0, Scripted([[1, 0, 0], [1, 0, 0]]))
    assert Counter(owner.tolist()) == {0: 13, 1: 6, 2: 6}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 12), st.sampled_from([1e-3, 0.1, 1.0, 1e5]), st.integers(0, 99))
def test_every_sample_has_an_owner_before_the_cleaning(n, clients, alpha, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    owner = balanced_owners(y, clients, alpha, rng)
    sizes = np.bincount(owner, minlength=clients)
    assert sizes.sum() == n and len(sizes) == clients
    # Once above the mean a client gets no further label: without its last label it holds at most the mean.
    for client in range(clients):
        labels = y[owner == client]
        if len(labels):
            assert (labels < labels.max()).sum() <= n / clients


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 900), st.integers(1, 12), st.sampled_from([0.1, 0.5, 5.0]), st.integers(0, 99))
def test_what_the_cleaning_promises(n, clients, alpha, seed):
    pool = pool_of(n, seed=seed)
    block = DirichletBalanced(clients=clients, alpha=alpha, max_size=150, batch_size=8, min_size=20, split_seed=seed)
    try:
        federation = block.split(pool, 0)
    except SpecError as fault:
        assert "none of" in fault.what
        return
    rows = federation.x[:, 0].long()
    assert len(set(rows.tolist())) == len(rows) and torch.equal(federation.y, pool.y[rows])
    assert all(20 <= size <= 150 and size % 8 != 1 for size in federation.sizes)
    numbers = [int(name) for name in federation.clients]
    assert numbers == sorted(set(numbers)) and numbers[-1] < clients


def only(counts, **options):
    """One client that holds `counts[label]` samples of each label, cleaned."""
    pool = pool_of(sum(counts), labels=len(counts))
    pool.y[:] = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    options = {"min_size": 1, "batch_size": 1, "min_label": 1} | options
    return DirichletBalanced(clients=1, **options).split(pool, 0)


def test_each_step_of_the_cleaning():
    assert torch.bincount(only([9, 10, 40], min_label=10).y, minlength=3).tolist() == [0, 10, 40]
    assert only([33, 32], batch_size=32).sizes == (64,)
    assert only([33, 33], batch_size=32).sizes == (66,)
    # The cap cuts a random part, so no label is lost; it comes before the batch of one is seen.
    capped = only([400, 400], max_size=257, batch_size=32)
    assert capped.sizes == (256,) and (torch.bincount(capped.y) > 90).all()
    # The least size counts after all else: 33 samples, one dropped.
    assert only([33], batch_size=32, min_size=32).sizes == (32,)
    with pytest.raises(SpecError, match="none of 1 clients has 33 samples") as caught:
        only([33], batch_size=32, min_size=33)
    assert caught.value.todo


def test_clients_that_stay_are_numbered_anew_in_their_order():
    pool = pool_of(600)
    federation = DirichletBalanced(clients=40, alpha=0.1, min_size=15).split(pool, 0)
    owner = torch.from_numpy(balanced(pool, 40, 0.1))
    assert 0 < len(federation.clients) < 40 and federation.clients == numbered(len(federation.sizes))
    before = [set(owner[federation.of(k)[0][:, 0].long()].tolist()) for k in range(len(federation.sizes))]
    assert all(len(one) == 1 for one in before) and sorted(before, key=min) == before


def balanced(pool, clients, alpha):
    from experiments.core.engine.seeds import stream

    return balanced_owners(pool.y.numpy(), clients, alpha, stream(42, "partition", kind="dirichlet_balanced"))


def test_seeds_and_limits():
    pool = pool_of(2000)
    first, again, other = (DirichletBalanced(clients=4, split_seed=None).split(pool, s).x for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    fixed = [DirichletBalanced(clients=4).split(pool, s).x for s in (0, 1)]
    assert torch.equal(*fixed)
    even = DirichletBalanced(clients=4, alpha=1e6).split(pool, 0)
    counts = torch.stack([torch.bincount(even.of(k)[1], minlength=4) for k in range(4)]).double()
    # By the last label a client may be a sample above the mean, so only the first labels are dealt to all evenly.
    assert ((counts / counts.sum(0))[:, :3] - 0.25).abs().max() < 0.01
    for wrong in ({"alpha": 0.0}, {"alpha": float("inf")}, {"clients": 0}, {"min_label": 0}, {"max_size": 31}):
        with pytest.raises(ValidationError):
            DirichletBalanced(**wrong)
