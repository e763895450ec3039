"""Subjects as columns, and picking by them."""

import math

from experiments.fragility import reading
from tests.fragility import synthetic


def parsed(*rows):
    return reading.parse(synthetic.frame([{"method": "exact", "value": 1.0, **row} for row in rows]))


def test_a_subject_becomes_columns_and_the_point_of_the_grid():
    subject = "activation=relu wd=0.005 test=max2 set=top40 truth=scratch"
    row = parsed({"metric": "spearman", "subject": subject}).iloc[0]
    assert row["point"] == "activation=relu wd=0.005"
    told = {"activation": "relu", "wd": "0.005", "test": "max2", "set": "top40", "truth": "scratch"}
    assert {key: row[key] for key in (*reading.GRID, *reading.WITHIN) if row[key]} == told


def test_a_row_without_a_subject_has_no_keys():
    row = parsed({"metric": "x", "subject": ""}).iloc[0]
    assert not any(row[key] for key in ("subject", "point", *reading.GRID, *reading.WITHIN))


def test_an_axis_of_a_settings_own_counts_as_one_and_never_hides_a_column():
    rows = parsed({"metric": "x", "subject": "lr=0.1 method=newton wd=0 test=max"})
    assert reading.axes(rows) == ["wd", "lr", "method_"]
    assert rows.loc[0, ["lr", "method_", "method"]].tolist() == ["0.1", "newton", "exact"]


def test_values_that_are_not_finite_are_left_out():
    rows = parsed({"metric": "x", "value": math.nan}, {"metric": "x", "value": math.inf}, {"metric": "x"})
    assert reading.pick(rows, "x")["value"].tolist() == [1.0]


def test_places_have_an_order():
    assert reading.ordered(["0.075", "0.1", "0", "0.03"]) == ["0", "0.03", "0.075", "0.1"]
    tests = ["p25", "max10", "i7", "max", "p50b", "max2", "p50", "p75"]
    assert reading.ordered(tests) == ["max", "max2", "max10", "p75", "p50", "p50b", "p25", "i7"]
    assert reading.ordered(["resnet18", "vgg13", "small_cnn"]) == ["small_cnn", "vgg13", "resnet18"]


def test_the_first_estimator_of_every_point_is_taken():
    told = (("cg", "arch=a"), ("lissa", "arch=a"), ("lissa", "arch=b"), ("retrain", "arch=b"))
    rows = parsed(*({"method": m, "metric": "pearson", "subject": f"{p} test=max"} for m, p in told))
    assert reading.primary(rows)[["method", "point"]].to_numpy().tolist() == [["cg", "arch=a"], ["lissa", "arch=b"]]


def test_the_top_set_is_the_plain_one_or_the_largest():
    rows = parsed(*({"metric": "x", "subject": f"set={name}"} for name in ("lowest", "top40", "top100", "p30")))
    assert reading.top(rows)["set"].tolist() == ["top100"]
    plain = parsed(*({"metric": "x", "subject": f"set={name}"} for name in ("top40", "top")))
    assert reading.top(plain)["set"].tolist() == ["top"]


def test_prediction_and_truth_meet_sample_by_sample():
    rows = parsed(
        {"metric": "influence", "subject": "wd=0 test=max train=3", "value": 0.5},
        {"metric": "influence", "subject": "wd=0 test=max train=4", "value": 0.7},
        {"metric": "actual", "method": "retrain", "subject": "wd=0 test=max train=3", "value": 0.4},
        {"metric": "actual", "method": "scratch", "subject": "wd=0 test=max train=4", "value": 0.9},
    )
    found = reading.beside(rows)
    assert found[["wd", "test", "train", "predicted", "actual"]].to_numpy().tolist() == [["0", "max", "3", 0.5, 0.4]]


def test_networks_without_a_correlation_are_counted_and_unfinished_ones_are_not():
    constant = {(0, "activation=tanh depth=8"), (1, "activation=tanh depth=8")}
    metrics = synthetic.metrics("iris_depth", seeds=(0, 1, 2), constant=constant)
    gone = metrics["subject"].str.startswith("activation=tanh depth=5") & (metrics["seed"] == 2)
    rows = reading.parse(metrics[~gone])
    rows = rows[rows["activation"] == "tanh"]
    lost = reading.undefined(rows, reading.correlations(rows), "depth")
    assert lost.loc["8"].tolist() == [2, 2, 3] and lost.loc["5"].tolist() == [0, 0, 2]
    assert lost["undefined"].sum() == 2


def test_points_in_words():
    assert reading.point_words("activation=relu depth=3 wd=0") == "ReLU, depth 3, no decay"
    assert reading.point_words("arch=resnet18 wd=0.001") == "ResNet-18, decay 0.001"
    assert reading.point_words("hidden=[5,%205] wd=0") == "hidden [5, 5], no decay"
    assert reading.family("small_mnist-digits") == "small_mnist" and reading.family("mine") == "mine"


def test_places_are_no_axis_of_the_grid():
    rows = parsed({"metric": "influence_of_rank", "subject": "arch=lenet test=max place=3"})
    assert (rows["point"].tolist(), reading.axes(rows)) == (["arch=lenet"], ["arch"])
