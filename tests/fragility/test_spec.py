"""What a setting may not say."""

import pytest
from pydantic import ValidationError

from tests.toys.fragility import spec


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"test_points": ["worst"]}, "'worst' is none of"),
        ({"test_points": ["max", "max"]}, "test_points: one is named twice"),
        ({"several": ["p50"]}, "'p50' is not among test_points"),
        ({"methods": ["exact", "exact"]}, "methods: one is named twice"),
        ({"methods": ["hessian"]}, "exact"),
        ({"candidates": [{"pick": "top", "count": 5}, {"pick": "top", "count": 9}]}, "two sets of one name"),
        ({"candidates": [{"pick": "top"}]}, "give count or share"),
        ({"candidates": [{"pick": "all", "count": 4}]}, "give count or share"),
        ({"candidates": [{"pick": "top", "count": 2}]}, "greater than or equal to 3"),
        ({"retrain": {"steps": 5}}, "no steps to continue"),
        ({"retrain": {"method": "newton"}}, "how long to retrain"),
        ({"train": {"optimizer": "lbfgs", "steps": 5, "batch_size": 3}}, "lbfgs uses all samples"),
        ({"train": {"steps": 5, "drops": [[9, 0.1], [3, 0.01]]}, "retrain": {"steps": 2}}, "the steps must rise"),
    ],
)
def test_refused(more, told):
    with pytest.raises(ValidationError) as error:
        spec(**more)
    assert told in str(error.value)


def test_damping_and_decay_of_a_point():
    assert spec(damping=0.1, damping_without_decay=0.5).effective_damping == 0.1
    assert spec(damping=0.1, damping_without_decay=0.5, weight_decay=0.0).effective_damping == 0.5
    assert spec(damping=0.1, weight_decay=0.0).effective_damping == 0.1
    assert spec(penalty="whole").effective_decay == 2 * spec().effective_decay == 0.02


def test_names_of_candidate_sets():
    sets = [
        {"pick": "top", "count": 5},
        {"pick": "percentile", "count": 5},
        {"pick": "top", "count": 9, "name": "top9"},
    ]
    assert [c.label for c in spec(candidates=sets).candidates] == ["top", "p30", "top9"]
