"""When a world leaves the base world, against a search round by round; and who takes part where."""

import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.core.engine.worlds import (
    BASE,
    World,
    check,
    fork_rounds,
    leave_one_out,
    sample_weights,
    without_client,
    without_clients,
    without_sample,
    without_samples,
)
from experiments.core.errors import SpecError

SIZES = (2, 1, 3, 1, 2)
OFFSETS = (0, 2, 3, 6, 7, 9)
CLIENTS = st.frozensets(st.integers(0, 4), max_size=4)
SAMPLES = st.frozensets(st.integers(0, 8), max_size=5)
WORLDS = st.lists(st.builds(World, st.just("w"), CLIENTS, st.integers(1, 8), SAMPLES), max_size=4)
SCHEDULES = st.lists(
    st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True).map(tuple), min_size=1, max_size=7
)


def data_used(world, t, drawn):
    """The rows that train in round t of `world`: what defines the round, law 1 apart."""
    rows = []
    for k in drawn:
        if t >= world.since and k in world.clients:
            continue
        a, b = list(pairwise(OFFSETS))[k]
        rows.append((k, tuple(s for s in range(a, b) if s not in world.samples)))
    return rows


@settings(max_examples=200, deadline=None, derandomize=True)
@given(WORLDS, SCHEDULES, st.data())
def test_fork_rounds_are_the_first_rounds_that_differ(worlds, schedule, data):
    first = data.draw(st.integers(1, len(schedule)))
    found = fork_rounds([BASE, *worlds], schedule, OFFSETS, first)
    for world, fork in zip([BASE, *worlds], found, strict=True):
        differs = [
            t
            for t, drawn in enumerate(schedule, 1)
            if t >= first and data_used(world, t, drawn) != data_used(BASE, t, drawn)
        ]
        assert fork == (differs[0] if differs else len(schedule) + 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(CLIENTS, st.integers(1, 6), st.integers(1, 6), st.lists(st.integers(0, 4), unique=True))
def test_participants(clients, since, t, drawn):
    world = World("w", clients, since)
    found = world.participants(t, drawn)
    if t < since:
        assert found == tuple(drawn)
    else:
        assert set(found) == set(drawn) - clients
    assert [k for k in drawn if k in found] == list(found)  # in the order drawn, nobody new
    assert BASE.participants(t, drawn) == tuple(drawn)


LEFT_OUT = st.tuples(
    st.frozensets(st.integers(0, 99), max_size=40), st.integers(1, 30), st.frozensets(st.integers(0, 9999), max_size=30)
)


@given(LEFT_OUT, LEFT_OUT)
def test_slugs_are_safe_file_names_and_tell_worlds_apart(one, other):
    def content(clients, since, samples):
        return clients, since if clients else 1, samples

    first, second = (World("a: any/label", clients, since, samples) for clients, since, samples in (one, other))
    assert re.fullmatch(r"[a-z0-9+-]{1,140}", first.slug)
    assert (first.slug == second.slug) == (content(*one) == content(*other))


def test_slugs_say_what_is_left_out():
    assert BASE.slug == "base" and without_client(3).slug == "without-client-3"
    assert without_clients([2, 1], ("a", "b/c", "d"), since=4).slug == "without-client-1+2-from-4"
    assert without_samples("group", [4, 2]).slug == "without-sample-2+4"
    assert without_samples("half", range(500)).slug.startswith("without-500-samples-")


def test_labels():
    assert [w.label for w in leave_one_out([4, 1])] == ["base", "without:4", "without:1"]
    assert without_client(3, since=2) == World("without:3@2", frozenset({3}), 2)
    assert [w.label for w in leave_one_out([2, 0], ("a", "b, c", "d"))] == ["base", "without:d", "without:a"]
    both = without_clients([2, 1], ("a", "b, c", "d"), since=4)
    assert both == World("without:b, c+d@4", frozenset({1, 2}), 4)
    assert without_sample(3) == World("without:z3", samples=frozenset({3}))
    assert without_samples("group:1", [4, 2]) == World("group:1", samples=frozenset({2, 4}))


def test_sample_weights():
    like = torch.zeros(0, dtype=torch.float64)
    found = sample_weights([BASE, without_sample(2), without_samples("g", (0, 3))], 4, like)
    assert found.tolist() == [[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]]
    assert found.dtype == torch.float64
    assert sample_weights([BASE], 4, like) is None


@pytest.mark.parametrize("rows", [[4], [-1], [0, 1, 2, 3]])
def test_sample_weights_of_impossible_worlds(rows):
    with pytest.raises(SpecError):
        sample_weights([BASE, without_samples("w", rows)], 4, torch.zeros(0))


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (World("w", frozenset({0, 5})), "unknown client 5; world w; clients are numbered 0 to 4"),
        (World("w", frozenset({-1})), "unknown client -1; world w"),
        (World("w", frozenset(range(5)), since=9), "every client is left out; world w"),
        (World("w", samples=frozenset({9})), "unknown training sample; world w; samples are numbered 0 to 8"),
        (World("w", samples=frozenset(range(9))), "every sample is left out; world w"),
        (World("base"), "two worlds carry the same label"),
    ],
)
def test_impossible_worlds(world, said):
    with pytest.raises(SpecError) as caught:
        check([BASE, world], OFFSETS)
    assert str(caught.value).startswith(said)
    check([BASE, World("w", frozenset(range(4)), samples=frozenset(range(8)))], OFFSETS)
