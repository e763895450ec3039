"""Who is left out, and in which order."""

import numpy as np
import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.removal import CandidateSpec, GroupSpec
from experiments.core.study.removal import candidates, groups, leading, ranked

INFLUENCE = np.array([0.1, -0.9, 0.0, 0.5, -0.2, 0.3, 0.05, -0.05, 0.7, 0.01])


def test_ties_go_to_the_next_score_and_then_to_the_smaller_number():
    first, second = [1.0, 0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 1.0, 2.0]
    assert ranked(first) == [1, 3, 4, 0, 2]
    assert ranked(first, largest=True) == [0, 2, 1, 3, 4]
    assert ranked(first, second) == [3, 1, 4, 0, 2]
    assert ranked(first, second, largest=True) == [0, 2, 1, 4, 3]


def test_a_share_takes_the_first_of_the_order_and_none_that_takes_nobody():
    order = [4, 2, 0, 1, 3]
    assert list(leading(order, (0.0, 0.05, 0.2, 0.5, 1.0))) == [(0.2, [4]), (0.5, [4, 2]), (1.0, order)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"pick": "top", "count": 3}, [1, 8, 3]),
        ({"pick": "top", "count": 3, "signed": True}, [8, 3, 5]),
        ({"pick": "lowest", "count": 3}, [2, 9, 6]),
        ({"pick": "lowest", "count": 3, "signed": True}, [1, 4, 7]),
        ({"pick": "percentile", "at": 100.0, "count": 3}, [8, 3, 5]),
        ({"pick": "top", "share": 0.3}, [1, 8, 3]),
    ],
)
def test_candidates(more, expected):
    assert candidates(CandidateSpec(**more), INFLUENCE, 0) == expected


def test_the_papers_share_of_iris_is_twenty_points():
    assert len(candidates(CandidateSpec(pick="top", share=0.166), np.arange(120.0), 0)) == 20


def test_random_candidates_depend_on_the_seed_and_not_on_the_influence():
    spec = CandidateSpec(pick="random", count=4)
    first = candidates(spec, INFLUENCE, 0)
    assert first == candidates(spec, -INFLUENCE, 0)
    assert first != candidates(spec, INFLUENCE, 1)
    assert len(set(first)) == 4


def test_all_candidates_are_all():
    assert sorted(candidates(CandidateSpec(pick="all"), INFLUENCE, 0)) == list(range(10))


def test_groups_hold_distinct_influential_samples():
    influence = np.linspace(1, 0, 100)
    found = groups(GroupSpec(sizes=(2, 8), count=3), influence, 0)
    assert set(found) == {(2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 2)}
    assert all(len(set(held)) == size for (size, _), held in found.items())
    assert max(i for (size, _), held in found.items() if size == 2 for i in held) < 10
    with pytest.raises(SpecError, match="groups of 100"):
        groups(GroupSpec(sizes=(100,), count=3), influence, 0)
