"""Which test points and which training samples are taken."""

import numpy as np
import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.removal import CandidateSpec, GroupSpec
from experiments.core.study.points import candidates, groups, test_points

test_points.__test__ = False
LOSSES = np.array([0.5, 3.0, 0.1, 2.0, 0.2])
INFLUENCE = np.array([0.1, -0.9, 0.0, 0.5, -0.2, 0.3, 0.05, -0.05, 0.7, 0.01])


def test_test_points_by_loss_percentile_and_index():
    found = test_points(("max", "max2", "p50", "p50b", "p0", "i4"), LOSSES)
    assert found == {"max": 1, "max2": 3, "p50": 0, "p50b": 4, "p0": 2, "i4": 4}


@pytest.mark.parametrize("name", ["i5", "max6", "p50z"])
def test_a_test_point_outside_the_test_set_is_refused(name):
    with pytest.raises(SpecError, match="5 samples"):
        test_points((name,), LOSSES)


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
