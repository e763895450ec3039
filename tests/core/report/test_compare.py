"""Ours beside the paper's: which of our numbers is taken, and how it is judged."""

from __future__ import annotations

import json
import math
import statistics

import pandas as pd
import pytest

from experiments.core.errors import SpecError
from experiments.core.report.compare import COLUMNS, compare
from experiments.core.report.reference import COLUMNS as ASKED
from experiments.core.report.reference import Reference
from experiments.core.sweep.cell import COLUMNS as TIDY


def ask(**given):
    plain = {"key": "p.figure3.pearson", "kind": "result", "setting": "setting1", "metric": "pearson", "round": "last"}
    return Reference(**{**dict.fromkeys(ASKED, ""), "value": "0.8", "source": "Figure 3", **plain, **given})


def tidy(*rows):
    filled = [
        {**dict.fromkeys(TIDY, ""), "setting": "setting1", "seed": 0, "round": 10, "method": "a", **row} for row in rows
    ]
    return pd.DataFrame(filled, columns=list(TIDY)).astype({"round": float, "value": float})


def spec(**leaves):
    rows = [{"setting": "setting1", "key": k, "value": json.dumps(v)} for k, v in leaves.items()]
    return pd.DataFrame(rows, columns=["paper", "setting", "scale", "key", "value"])


def one(reference, metrics=None, told=None):
    frame = compare([reference], tidy() if metrics is None else metrics, spec() if told is None else told, "p", "small")
    assert list(frame.columns) == list(COLUMNS)
    return frame.iloc[0]


VALUES = [0.70, 0.80, 0.84]
THREE = tidy(*({"metric": "pearson", "seed": i, "value": v} for i, v in enumerate(VALUES)))


def test_mean_spread_and_difference_over_seeds():
    row = one(ask(tolerance_reproduced="0.05", tolerance_close="0.1"), THREE)
    assert row["ours"] == pytest.approx(statistics.mean(VALUES)) and row["sd"] == pytest.approx(
        statistics.stdev(VALUES)
    )
    assert (row["low"], row["high"], row["seeds"], row["reference"]) == (0.70, 0.84, 3, 0.8)
    assert row["difference"] == pytest.approx(statistics.mean(VALUES) - 0.8) and row["status"] == "reproduced"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0.75, "reproduced"),
        (0.85, "reproduced"),
        (0.7499, "close"),
        (0.9, "close"),
        (0.9001, "differs"),
        (math.nan, "differs"),
    ],
)
def test_the_two_tolerances_are_inclusive(value, status):
    row = one(ask(tolerance_reproduced="0.05", tolerance_close="0.1"), tidy({"metric": "pearson", "value": value}))
    assert row["status"] == status


def test_without_tolerances_only_equality_will_do():
    assert one(ask(), tidy({"metric": "pearson", "value": 0.8}))["status"] == "reproduced"
    assert one(ask(), tidy({"metric": "pearson", "value": 0.8001}))["status"] == "differs"


def test_what_never_ran_is_not_run():
    row = one(ask())
    assert (row["status"], row["ours"], row["seeds"], row["reference"]) == ("not run", "", 0, 0.8)


@pytest.mark.parametrize(
    ("value", "status"), [(3e10, "reproduced"), (2e8, "close"), (5.0, "differs"), (-1e11, "differs")]
)
def test_orders_of_magnitude(value, status):
    asked = ask(value="1e11", rule="log10", tolerance_reproduced="1", tolerance_close="3")
    assert one(asked, tidy({"metric": "pearson", "value": value}))["status"] == status


def test_the_last_round_of_each_seed_or_a_named_one():
    metrics = tidy(
        {"metric": "pearson", "round": 5, "value": 0.1}, {"metric": "pearson", "round": 10, "value": 0.2},
        {"metric": "loss", "round": 20, "value": 9.0}, {"metric": "pearson", "seed": 1, "round": 5, "value": 0.4},
    )  # fmt: skip
    assert one(ask(), metrics)["ours"] == pytest.approx(0.3)
    assert one(ask(round="5"), metrics)["ours"] == pytest.approx(0.25)


def test_the_first_of_several_methods_that_is_there():
    metrics = tidy(
        {"metric": "pearson", "method": "b", "value": 0.5}, {"metric": "pearson", "method": "c", "value": 0.6}
    )
    assert one(ask(method="a|c|b"), metrics)["ours"] == 0.6
    assert one(ask(method="x"), metrics)["status"] == "not run"


def test_more_than_one_number_per_seed_is_a_fault_not_a_mean():
    metrics = tidy(
        {"metric": "pearson", "method": "b", "value": 0.5}, {"metric": "pearson", "method": "c", "value": 0.6}
    )
    with pytest.raises(SpecError, match=r"figure3\.pearson matches several"):
        one(ask(), metrics)


@pytest.mark.parametrize(("unit", "ours"), [("", 54.0), ("%", 0.54)])
def test_percent(unit, ours):
    row = one(ask(value="53.86", unit="%"), tidy({"metric": "pearson", "value": 0.54, "unit": unit}))
    assert row["ours"] == pytest.approx(ours)


def test_a_stand_in_is_shown_beside_the_setting_itself_and_no_other_name_is():
    rows = [
        {"metric": "pearson", "setting": s, "value": 0.8, "dataset": "d"} for s in ("setting1-digits", "setting1-mine")
    ]
    frame = compare([ask()], tidy(*rows), spec(), "p", "small")
    assert frame[["setting", "stand_in", "status"]].to_numpy().tolist() == [
        ["setting1", "", "not run"], ["setting1-digits", "stand-in data: digits", "reproduced"],
    ]  # fmt: skip
    assert frame["dataset"].tolist() == ["", "d"]


@pytest.mark.parametrize(
    ("asked", "held", "status", "ours"),
    [
        ({"value": "0.02"}, 0.02, "reproduced", 0.02),
        ({"value": "0.02"}, 0.03, "differs", 0.03),
        ({"value": "5", "unit": "%"}, 0.05, "reproduced", 5.0),
        ({"value": "LogReg", "same_as": "logreg|leaf_logreg"}, "leaf_logreg", "reproduced", "leaf_logreg"),
        ({"value": "LogReg"}, "cnn", "differs", "cnn"),
        ({"value": "30", "unit": "%"}, [0.0, 0.1, 0.3], "reproduced", "0, 10, 30"),
        ({"value": "40", "unit": "%"}, [0.0, 0.1, 0.3], "differs", "0, 10, 30"),
        ({"value": "3"}, None, "not run", ""),
    ],
)
def test_choices_are_read_from_the_spec(asked, held, status, ours):
    row = one(ask(kind="setup", metric="spec:x|spec:a.b", **asked), told=spec(**{"a.b": held}))
    assert row["status"] == status and row["ours"] == (pytest.approx(ours) if isinstance(ours, float) else ours)


def powers(power, *, seed=0):
    return [{"metric": "seconds", "subject": f"K={k}", "seed": seed, "value": 0.7 * k**power} for k in (5, 10, 40)]


def test_a_formula_is_judged_by_its_worst_measured_power():
    formula = ask(key="p.t.server", kind="formula", metric="", value="K^2*p^2")
    within = {
        "kind": "exponent",
        "metric": "seconds",
        "round": "",
        "tolerance_reproduced": "0.2",
        "tolerance_close": "0.5",
    }
    exponents = [ask(key=f"p.t.server#{a}", subject=f"{a}=*", value="2", **within) for a in ("K", "p")]
    p_rows = [{**row, "subject": row["subject"].replace("K", "p")} for row in powers(1.7)]
    frame = compare([formula, *exponents], tidy(*powers(2.0), *powers(2.2, seed=1), *p_rows), spec(), "p", "small")
    assert frame["status"].tolist() == ["close", "reproduced", "close"]
    assert frame.iloc[1]["ours"] == pytest.approx(2.1) and frame.iloc[0]["ours"] == "K^2.1*p^1.7"
    assert compare([formula, *exponents], tidy(*p_rows), spec(), "p", "small")["status"].tolist()[0] == "not run"


OVER = tidy(
    *(
        {"metric": "pearson", "seed": s, "subject": f"optimizer={o} test=max", "value": v + s / 10, "n": 40}
        for s in (0, 1)
        for o, v in (("adam", 0.2), ("gd", 0.4), ("nesterov", 0.6))
    ),
    {"metric": "pearson", "subject": "optimizer=adam test=p50", "value": 0.9, "n": 40},
)


@pytest.mark.parametrize(
    ("metric", "ours"),
    [
        ("mean:pearson", 0.45),
        ("sd:pearson", 0.2),
        ("highest:pearson", 0.65),
        ("lowest:pearson", 0.25),
        ("n:pearson", 40),
    ],
)
def test_a_number_over_all_of_a_seeds_rows_whose_subject_matches(metric, ours):
    row = one(ask(metric=metric, subject="optimizer=* test=max"), OVER)
    assert row["ours"] == pytest.approx(ours) and row["seeds"] == 2


def test_one_row_a_seed_has_no_standard_deviation():
    assert one(ask(metric="sd:pearson", subject="optimizer=a* test=max"), OVER)["status"] == "not run"


def test_the_first_method_that_has_the_subject_is_taken_even_if_an_earlier_one_has_others():
    rows = tidy(
        {"metric": "pearson", "method": "cg", "subject": "arch=small", "value": 0.1},
        {"metric": "pearson", "method": "lissa", "subject": "arch=large", "value": 0.2},
    )
    assert one(ask(method="cg|lissa", subject="arch=large"), rows)["ours"] == 0.2
    assert one(ask(method="cg|lissa", subject="arch=small"), rows)["ours"] == 0.1
    assert one(ask(method="cg|lissa", subject="arch=none"), rows)["status"] == "not run"


@pytest.mark.parametrize(
    ("value", "status"), [(-0.9, "reproduced"), (0.15, "reproduced"), (0.2, "close"), (0.3, "differs")]
)
def test_an_upper_bound_is_met_by_all_below_it(value, status):
    bound = ask(value="0.15", rule="below", tolerance_reproduced="0", tolerance_close="0.1")
    assert one(bound, tidy({"metric": "pearson", "value": value}))["status"] == status


@pytest.mark.parametrize(
    ("values", "ours", "status"),
    [([math.nan, math.nan], "NaN", "reproduced"), ([math.nan, 40.0], "40", "differs"), ([40.0], "40", "differs")],
)
def test_a_printed_nan_is_reproduced_where_no_seed_has_a_number(values, ours, status):
    rows = [{"metric": "rounds_to_target", "seed": i, "value": v} for i, v in enumerate(values)]
    row = one(ask(value="NaN", metric="rounds_to_target"), tidy(*rows))
    assert (row["reference"], row["ours"], row["status"]) == ("NaN", ours, status)


def test_a_printed_number_that_some_seed_never_reached_differs():
    rows = [{"metric": "rounds_to_target", "seed": i, "value": v} for i, v in enumerate([0.8, math.nan])]
    assert (
        one(ask(metric="rounds_to_target", tolerance_reproduced="1", tolerance_close="2"), tidy(*rows))["status"]
        == "differs"
    )
