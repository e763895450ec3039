"""Rows keep their digits in a cell, and sort and round the same way in a table."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.sweep.cell import COLUMNS
from experiments.core.sweep.rows import complete_row, from_csv, tidy, to_csv
from tests.toys import cells as toy

CELL = toy.cells()[0]


@given(st.floats(allow_nan=False))
def test_a_stored_value_is_read_back_exactly(value):
    (row,) = from_csv(to_csv([complete_row(CELL, {"metric": "x", "value": value})]))
    assert float(row["value"]) == value
    assert tuple(row) == COLUMNS and row["method"] == "walk" and row["setting"] == "setting1"


def test_nan_and_infinity_are_kept():
    rows = from_csv(
        tidy([complete_row(CELL, {"metric": m, "value": v}) for m, v in [("a", math.nan), ("b", math.inf)]])
    )
    assert [row["value"] for row in rows] == ["nan", "inf"]


def test_the_table_does_not_depend_on_the_order_and_counts_in_numbers():
    made = [
        complete_row(CELL, {"metric": "x", "round": r, "subject": f"client {c}", "value": r + c / 3})
        for r in (2, 10)
        for c in (9, 10)
    ]
    shuffled = made.copy()
    random.Random(0).shuffle(shuffled)
    assert tidy(shuffled) == tidy(made)
    assert [(r["subject"], r["round"]) for r in from_csv(tidy(made))] == [
        ("client 9", "2"), ("client 9", "10"), ("client 10", "2"), ("client 10", "10"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [{"metric": "x"}, {"value": 1.0}, {"metric": "x", "value": 1, "rounds": 3}, {"metric": "x", "value": 1, "seed": 7}],
)
def test_a_row_that_does_not_fit_is_refused(row):
    with pytest.raises(ValueError, match="row"):
        complete_row(CELL, row)
