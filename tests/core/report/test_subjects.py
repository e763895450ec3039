"""Subjects of `key=value` words become columns, and rows are picked by them."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.names import is_number
from experiments.core.report.subjects import axes, clients, parse, pick
from experiments.core.subject import subject
from experiments.core.sweep.cell import COLUMNS

GRID, WITHIN = ("task", "alpha"), ("scope",)


def frame(*rows):
    told = pd.DataFrame([{"method": "m", "metric": "x", "value": 1.0, **row} for row in rows])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float, "n": float})


def test_words_become_columns_and_the_point_is_what_is_not_within_it():
    row = parse(frame({"subject": "task=a alpha=0.3 lr=2 scope=wrong"}), GRID, WITHIN).iloc[0]
    assert row[["point", "task", "alpha", "lr", "scope"]].tolist() == [
        "task=a alpha=0.3 lr=2",
        "a",
        "0.3",
        "2",
        "wrong",
    ]


@given(st.text(), st.integers(0, 10**6))
def test_a_name_of_any_letters_is_read_back(name, label):
    names = clients(pd.Series([subject(client=name, label=label)]))
    assert names.astype(str).tolist() == [str(int(name)) if is_number(name) else name]


def test_numbers_are_numbers_and_names_have_their_natural_order():
    assert clients(pd.Series(["client=10", "client=9"])).tolist() == [10, 9]
    for names, order in ((["s10", "s9"], ["s9", "s10"]), (["10", "09"], ["09", "10"]), (["7", "client=7"],) * 2):
        found = clients(pd.Series([subject(client=name) for name in names]))
        assert found.tolist() == names and sorted(found.cat.categories) == sorted(order)
        assert found.sort_values().tolist() == order


def test_a_row_without_subject_has_no_keys_and_one_of_another_form_is_rejected():
    rows = parse(frame({"subject": ""}, {"subject": "alpha=1"}), GRID, WITHIN)
    assert len(rows) == 2 and rows.loc[0, ["point", "task", "alpha", "scope"]].tolist() == [""] * 4
    with pytest.raises(SpecError, match="'client:3' is not key=value words"):
        parse(frame({"subject": "client:3"}), GRID, WITHIN)


def test_axes_stand_in_the_order_of_the_grid_and_never_hide_a_column():
    rows = parse(frame({"subject": "zeta=1 alpha=1 round=4 scope=a"}), GRID, WITHIN)
    assert axes(rows, GRID) == ["alpha", "round_", "zeta"]
    assert rows.loc[0, "round_"] == "4" and math.isnan(rows.loc[0, "round"])


def test_rows_are_picked_by_metric_and_columns_without_those_that_are_not_finite():
    rows = frame(
        {"value": math.nan}, {"value": math.inf}, {"method": "a"}, {"method": "b"}, {"method": "a", "metric": "y"}
    )  # fmt: skip
    assert pick(rows, "x")["method"].tolist() == ["a", "b"]
    assert pick(rows, ["x", "y"], method="a")["metric"].tolist() == ["x", "y"]
    assert pick(rows, "x", method=["b", "c"]).index.tolist() == [0]
