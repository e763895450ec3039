"""Axes, their points, and what is refused."""

import pytest
from pydantic import ValidationError

from experiments.core.spec.grid import at, label
from experiments.core.spec.grid import points as all_points
from experiments.core.subject import words
from experiments.fragility.spec import ORDER, WORDS
from tests.toys.fragility import spec


def points(axes):
    return all_points(axes, ORDER, WORDS)


DEPTH = {"1": {"model.hidden": [5]}, "2": {"model.hidden": [5, 5]}}


def test_every_combination_in_the_order_of_results():
    found = [label(point) for point, _ in points(spec(grid={"weight_decay": [0, 0.005], "depth": DEPTH}).grid)]
    assert found == ["depth=1 wd=0", "depth=2 wd=0", "depth=1 wd=0.005", "depth=2 wd=0.005"]


@pytest.mark.parametrize(
    "axes",
    [
        {"model.hidden": [[64, 32], [16, 16]]},
        {"arch": {"two layers": {"model.hidden": [5, 5]}}},
        {"data.path": ["50%20x y"]},
    ],
)
def test_a_choice_of_any_characters_is_read_back(axes):
    chosen = [point for point, _ in points(axes)]
    assert [words(label(point)) for point in chosen] == chosen


def test_a_point_has_its_values_and_no_grid():
    own = spec(grid={"weight_decay": [0, 0.005], "depth": DEPTH})
    made = [at(own, keys) for _, keys in points(own.grid)]
    assert [(s.weight_decay, len(s.model.hidden)) for s in made] == [(0, 1), (0, 2), (0.005, 1), (0.005, 2)]
    assert not any(s.grid for s in made)


def test_without_axes_there_is_one_nameless_point():
    assert [(label(point), keys) for point, keys in points({})] == [("", {})]


def test_a_named_choice_may_replace_a_block_or_change_part_of_it():
    own = spec(grid={"arch": {"a": {"model": {"kind": "logreg"}, "train": {"steps": 7}}, "b": {"train.steps": 9}}})
    a, b = (at(own, keys) for _, keys in points(own.grid))
    assert (a.model.kind, a.train.steps, a.train.optimizer) == ("logreg", 7, "lbfgs")
    assert (b.model.kind, b.train.steps) == ("mlp", 9)


def test_a_choice_that_is_null_is_dropped():
    assert len(list(points(spec(grid={"depth": {**DEPTH, "2": None}}).grid))) == 1


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"foo.bar": [1]}, "unknown key 'foo'"),
        ({"model.hiden": [[1]]}, "unknown key 'hiden'"),
        ({"weight_decay": [0.1, -1]}, "wd=-1: weight_decay"),
        ({"seeds": [[1]]}, "seeds cannot be varied"),
        ({"weight_decay": [0.1, 0.1]}, "there twice"),
        ({"depth": {"1": None}}, "no choice left"),
        ({"a": {"b": {"train.optimizer": "adam"}}}, None),
        ({"a": {"b": {"train.optimizer": "adam", "retrain.method": "continue"}}}, None),
        ({"train.optimizer": ["lbfgs", "sgdd"]}, "optimizer=sgdd: train.optimizer"),
    ],
)
def test_axes_that_cannot_be(grid, told):
    if told is None:
        assert spec(grid=grid).grid
        return
    with pytest.raises(ValidationError, match="grid") as error:
        spec(grid=grid)
    assert told in str(error.value)
