"""Splits by owner, and what holding many owners' data costs."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.data._split import rows_by_owner, split_by_owner, split_rows
from experiments.core.data.leaf_synthetic import LeafSynthetic
from experiments.core.data.partition import Natural, dealt
from experiments.core.engine.seeds import stream


@given(st.lists(st.integers(-1, 5), max_size=40))
def test_rows_by_owner_are_those_that_a_look_at_each_owner_finds(owner):
    found = rows_by_owner(np.array(owner, dtype=np.int64), 6)
    assert [rows.tolist() for rows in found] == [[i for i, who in enumerate(owner) if who == k] for k in range(6)]


@given(st.integers(0, 30), st.lists(st.integers(0, 30), max_size=6))
def test_samples_in_a_row_are_dealt_as_the_cuts_say(n, cuts):
    ends = sorted(min(c, n) for c in cuts)
    by_hand = [k for k, part in enumerate(np.split(np.arange(n), ends)) for _ in part]
    assert dealt(np.array(ends, dtype=np.int64), n).tolist() == by_hand


def test_each_owner_is_split_alone_whoever_else_there_is():
    owner = np.array([0, 1, 0, 1, 1, 0, 0])
    train, test = split_by_owner(owner, ("a", "b"), 0.5, 7)
    rows = np.flatnonzero(owner == 1)
    alone = split_rows(3, 0.5, stream(7, "split", client="b"))
    assert train[2:].tolist() == rows[alone[0]].tolist() and test[2:].tolist() == rows[alone[1]].tolist()


def test_data_of_many_clients_are_held_less_than_twice():
    block = LeafSynthetic(clients=200, dims=300)
    tracemalloc.start()
    pool = block.load(0, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * (pool.x.nbytes + pool.test_x.nbytes)
    # Data that lie client by client are dealt without a copy.
    assert Natural().split(pool, 0).x.data_ptr() == pool.x.data_ptr()
