"""What a setting may say: which rounds are scored, what is measured, and what is wrong with others."""

import pytest
from pydantic import ValidationError

from tests.vog.toy import spec


@pytest.mark.parametrize(
    ("more", "until", "rounds"),
    [
        ({}, None, (1, 2, 3, 4)),
        ({"every": 2, "rounds": 5}, None, (2, 4, 5)),
        ({"every": 3, "rounds": 9, "last": 2}, None, (6, 9)),
        ({"every": 2, "rounds": 9}, 5, (2, 4, 5)),
        ({"every": 9, "methods": ["loss"]}, None, (4,)),
    ],
)
def test_the_last_round_is_always_scored(more, until, rounds):
    assert spec(**more).kept(until) == rounds


def test_what_is_measured_comes_in_the_order_of_the_fields():
    own = spec(difficulty={}, removal={"after": 2}, release={}, truth={})
    assert list(own.measures) == ["removal", "difficulty", "truth", "release"]
    assert spec().measures == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"methods": ["vog", "vog"]}, "methods: one is named twice: vog"),
        ({"methods": ["vogg"]}, "vogg"),
        ({"methods": []}, "methods"),
        ({"loss": "squared"}, "loss: scores are compared within the classes"),
        ({"every": 4}, "every: vog needs 2 checkpoints, but 4 rounds leave 1; raise rounds, lower every"),
        ({"last": 1}, "every: vog needs 2 checkpoints"),
        ({"removal": {"after": 4}}, "removal.after: 4 leaves no round before the last, 4"),
        ({"removal": {"after": 1}}, "removal.after: vog needs 2 checkpoints, but 1 rounds leave 1"),
        ({"removal": {"after": 2}, "algorithm": {"kind": "scaffold"}}, "removal: continues from a round's model alone"),
        ({"removal": {"after": 2, "share": 1.0}}, "share"),
        ({"planted": 1.0}, "planted"),
        ({"grid": {"rounds": [1]}}, "grid: rounds=1: every: vog needs 2 checkpoints"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(more, said):
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        spec(**more)
