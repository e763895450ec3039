"""The identity of a cell: what changes the numbers is in it, nothing else is."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.sweep.cell import Cell, canonical
from tests.toys import cells as toy

leaves = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans(), st.none())
values = st.recursive(leaves, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8)


@given(st.dictionaries(st.text(), values))
def test_canonical_is_read_back_and_ignores_the_order_of_keys(value):
    assert json.loads(canonical(value)) == value
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_id_depends_on_parameters_and_version_only():
    (cell,) = toy.cells(5)
    (slower,) = toy.cells(5, pause=1.0)
    assert slower.id == cell.id and slower == cell and len({slower, cell}) == 1
    assert toy.cells(6)[0].id != cell.id
    assert toy.cells(5, version=2)[0].id != cell.id
    assert cell.id.startswith("seed0-walk-")


def test_a_tuple_and_a_list_are_the_same_parameter():
    def made(value):
        return Cell("p", "s", "small", 0, "m", {"a": value}, 1, compute=toy.walk).id

    assert made((1, 2)) == made([1, 2]) != made([2, 1])


def test_a_cell_can_be_sent_to_another_process():
    (cell,) = toy.cells(5)
    assert pickle.loads(pickle.dumps(cell)).id == cell.id


@pytest.mark.parametrize("params", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_parameters_that_are_not_json_are_refused(params):
    with pytest.raises(SpecError):
        Cell("p", "s", "small", 0, "m", params, 1, compute=toy.walk)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(SpecError, match="cannot name a folder"):
        Cell("p", name, "small", 0, "m", {}, 1, compute=toy.walk)


def test_a_method_with_odd_characters_still_names_one_folder():
    cell = Cell("p", "s", "small", 0, "fisher/2 (x)", {}, 1, compute=toy.walk)
    assert "/" not in cell.id and " " not in cell.id
