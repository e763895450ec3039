"""Numbers over seeds, the order of rows and empty cells, of tables of every paper."""

import math

import pandas as pd
import pytest

from experiments.core.report import tables


def rows(*values: tuple[int, float], point: str = "a") -> pd.DataFrame:
    return pd.DataFrame([{"point": point, "seed": seed, "value": value} for seed, value in values])


def test_spread_is_over_all_values_of_a_group():
    frame = pd.concat([rows((0, 1.0), (1, 2.0), (2, 9.0)), rows((0, 5.0), point="b")])
    assert tables.spread(frame, ["point"]).to_dict("list") == {
        "point": ["a", "b"], "median": [2.0, 5.0], "low": [1.0, 5.0], "high": [9.0, 5.0], "seeds": [3, 1],
    }  # fmt: skip
    assert tables.spread(frame, ["point"], "mean")["mean"].tolist() == [4.0, 5.0]


@pytest.mark.parametrize(("how", "expected"), [("mean", (3.0, 2.0, 4.0)), ("max", (4.5, 3.0, 6.0))])
def test_every_seed_counts_the_same_however_many_rows_it_has(how, expected):
    over = tables.over_seeds(rows((0, 1.0), (0, 2.0), (0, 3.0), (1, 2.0), (1, 6.0)), ["point"], how)
    assert over[["mean", "low", "high", "seeds"]].to_numpy().tolist() == [[*expected, 2]]


def test_rows_are_arranged_by_the_given_orders_and_the_sorting_of_the_paper():
    frame = pd.DataFrame({"size": ["10", "9", "9", "10"], "method": ["second", "first", "second", "first"]})
    ordered = tables.arranged(
        frame, ["size", "method", "absent"], lambda values: sorted(values, key=float), {"method": ["first", "second"]}
    )
    assert ordered.to_numpy().tolist() == [["9", "first"], ["9", "second"], ["10", "first"], ["10", "second"]]
    assert tables.arranged(frame, ["absent"], sorted, {}) is frame


def test_empty_columns_go_and_text_cells_are_filled():
    frame = pd.DataFrame({
        "text": ["x", None], "number": [math.nan, 1.0], "no text": ["", ""], "no number": [math.nan, math.nan],
        "flag": [True, False],
    })  # fmt: skip
    filled = tables.filled(frame)
    assert list(filled) == ["text", "number", "flag"]
    assert filled["text"].tolist() == ["x", ""] and math.isnan(filled["number"][0])


def test_a_table_says_of_which_setting_and_scale_it_is():
    assert tables.about(pd.DataFrame({"setting": ["s"], "scale": ["small"], "seed": [0]})) == {
        "setting": "s", "scale": "small",
    }  # fmt: skip
