from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.core.data import partitions
from experiments.core.data.partition import Dirichlet, Iid, Natural, Shards
from experiments.core.data.pool import Pool, make_pool
from experiments.core.errors import SpecError


def pool_of(n, labels=4, owners=0, seed=0, tests=30):
    """A pool whose inputs are the row numbers, so that a sample can be followed."""
    rng = np.random.default_rng(seed)
    owner = torch.from_numpy(rng.integers(0, owners, n) if owners else np.full(n, -1))
    x, test_x = torch.arange(n).float().unsqueeze(1), -1 - torch.arange(tests).float().unsqueeze(1)
    y = torch.from_numpy(rng.integers(0, labels, n))
    names = tuple(f"c{k}" for k in range(owners))
    return Pool(x, y, owner, test_x, torch.zeros(tests, dtype=torch.int64), names, labels, "rows")


def check_cover(federation, pool):
    assert sorted(federation.x[:, 0].int().tolist()) == list(range(len(pool.y)))
    assert torch.equal(federation.y, pool.y[federation.x[:, 0].long()])  # labels stay with their inputs
    assert min(federation.sizes) > 0 and federation.offsets[-1] == len(federation.y)
    assert len(federation.clients) == len(federation.sizes)


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 200), st.integers(1, 8), st.integers(0, 99), st.sampled_from(["iid", "shards", "dirichlet"]))
def test_every_sample_goes_to_exactly_one_client(n, clients, seed, kind):
    extra = {"alpha": 1.0, "min_size": 1} if kind == "dirichlet" else {}
    pool = pool_of(n, seed=seed)
    federation = partitions()[kind](clients=clients, **extra).split(pool, seed)
    check_cover(federation, pool)
    assert len(federation.clients) == clients


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 80), st.integers(1, 12), st.integers(0, 99))
def test_natural_keeps_owners_and_drops_those_without_samples(n, owners, seed):
    pool = pool_of(n, owners=owners, seed=seed)
    federation = Natural().split(pool, seed)
    check_cover(federation, pool)
    held = Counter(pool.owner.tolist())
    assert federation.clients == tuple(f"c{k}" for k in sorted(held))
    for k, name in enumerate(federation.clients):
        rows = federation.of(k)[0][:, 0].long()
        assert set(pool.owner[rows].tolist()) == {int(name[1:])}
        assert rows.tolist() == sorted(rows.tolist())


def test_natural_users_by_the_thousand():
    """FEMNIST's: 3,400 of them and 62 classes, most of which no single user holds."""
    users, each = 3400, 5
    owner = np.random.default_rng(0).permutation(np.repeat(np.arange(users), each))
    labels = np.arange(users * each) * 7 % 62
    x, names = np.arange(users * each, dtype=np.float32)[:, None], tuple(f"f{k:04d}_00" for k in range(users))
    pool = make_pool("here", (x, labels), (x[:62], labels[:62]), 62, "femnist", owner, names)
    federation = Natural().split(pool, 0)
    check_cover(federation, pool)
    assert federation.sizes == (each,) * users and federation.clients == names and federation.classes == 62
    k = 1234
    assert federation.of(k)[0][:, 0].long().tolist() == np.flatnonzero(owner == k).tolist()
    counts = federation.label_counts()
    assert counts.shape == (users, 62) and counts.sum() == users * each and (counts > 0).any(0).all()


def test_natural_needs_owners():
    with pytest.raises(SpecError, match="no natural clients"):
        Natural().split(pool_of(40), 0)


def test_iid_is_balanced_and_fewer_samples_are_distinct():
    pool = pool_of(300)
    assert set(Iid(clients=7).split(pool, 0).sizes) == {42, 43}
    drawn = Iid(clients=5, samples_per_client=20, test_samples=12).split(pool, 0)
    assert drawn.sizes == (20,) * 5
    assert len(set(drawn.x[:, 0].tolist())) == 100
    tests = drawn.test_x[:, 0].tolist()
    assert len(set(tests)) == 12 and all(value < 0 for value in tests)


def test_iid_refuses_what_is_not_there():
    with pytest.raises(SpecError, match="need 80, but rows has 60"):
        Iid(clients=4, samples_per_client=20).split(pool_of(60), 0)
    with pytest.raises(SpecError, match="31 test samples"):
        Iid(clients=4, test_samples=31).split(pool_of(60), 0)


def mixes(federation, labels):
    counts = [torch.bincount(federation.of(k)[1], minlength=labels) for k in range(len(federation.clients))]
    return torch.stack(counts).double()


def test_dirichlet_limits():
    pool = pool_of(6000, labels=4)
    even = mixes(Dirichlet(clients=5, alpha=1e6).split(pool, 0), 4)
    assert (even / even.sum(0) - 0.2).abs().max() < 0.01  # alpha to infinity: equal shares of every label
    single = mixes(Dirichlet(clients=2, alpha=1e-3, min_size=1).split(pool, 0), 4)
    assert ((single / single.sum(0)).max(0).values > 0.99).all()  # alpha to 0: a label has one owner


def test_dirichlet_share_has_the_variance_of_the_law():
    # One label, so client 0 of K has Beta(alpha, (K - 1) alpha) of it: variance (K - 1) / (K^2 (K alpha + 1)).
    pool = pool_of(1000, labels=1)
    shares = [Dirichlet(clients=2, alpha=2.0, min_size=1).split(pool, s).sizes[0] / 1000 for s in range(400)]
    assert abs(np.mean(shares) - 0.5) < 0.04
    assert abs(np.var(shares) - 1 / (4 * 5)) < 0.012


def test_dirichlet_keeps_the_least_size_or_says_so():
    assert min(Dirichlet(clients=8, alpha=0.3, min_size=10).split(pool_of(400), 0).sizes) >= 10
    with pytest.raises(SpecError, match="could not be dealt"):
        Dirichlet(clients=8, min_size=10).split(pool_of(79), 0)
    with pytest.raises(ValidationError, match="finite"):
        Dirichlet(alpha=float("inf"))


def test_shards_limit_the_labels_of_a_client():
    pool = pool_of(1000, labels=10)
    counts = mixes(Shards(clients=10, shards_per_client=2).split(pool, 0), 10)
    # A shard of 50 sorted samples of labels of about 100 holds at most two labels.
    assert ((counts > 0).sum(1) <= 4).all()


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "shards"])
def test_seeds(kind):
    pool, block = pool_of(300), partitions()[kind]
    first, again, other = (block(clients=4).split(pool, s).x for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    fixed = [block(clients=4, split_seed=5).split(pool, s).x for s in (0, 1)]
    assert torch.equal(*fixed)
