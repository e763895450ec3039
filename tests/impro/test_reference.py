"""The printed numbers: they load, each has a label of its own, and they ask for what a setting that exists makes."""

from pathlib import Path

import pytest

import experiments
from experiments.core.report.reference import load
from experiments.core.spec.find import settings
from experiments.core.spec.grid import label, points
from experiments.core.spec.load import load as load_spec
from experiments.core.subject import words
from experiments.impro.spec import ORDER, WORDS

ROWS = load(Path(experiments.__file__).parent / "impro" / "reference.csv")
MADE = {"config", "learning_rate", "best_accuracy", "rounds_to_target"}
"""Metrics of ours that printed numbers stand beside."""
NOT_RUN = {"scaffold", "fedspeed", "ccvr", "feddf", "spherefed"}
"""Table 6's SCAFFOLD with momentum, and algorithms whose numbers are quoted."""


def point_labels(name):
    own = load_spec(name, "impro", "paper").spec
    return {label(point) for point, _ in points(own.grid, ORDER, WORDS)}


def test_all_the_numbers_are_there():
    """460 numbers and 112 deviations, of which 557 are numbers, 12 "NaN" and 3 times of the day."""
    spread = [row for row in ROWS if row.key.endswith(".sd")]
    assert (len(ROWS), len(spread)) == (572, 112)
    assert [row.value for row in ROWS if row.number is None].count("NaN") == 12
    assert sum(row.number is not None for row in ROWS) == 557


def test_labels_are_their_own():
    assert len({row.label for row in ROWS}) == len(ROWS)


def test_settings_exist():
    assert {row.setting for row in ROWS} <= {path.stem for path in settings("impro")["impro"]}


@pytest.mark.parametrize("setting", sorted({row.setting for row in ROWS}))
def test_they_stand_beside_points_of_the_setting_s_grid(setting):
    known, missing = point_labels(setting), []
    for row in ROWS:
        about = words(row.subject)
        if row.setting != setting or row.metric.rpartition(":")[2] not in MADE or row.metric.startswith("mean:"):
            continue
        about = {key: value for key, value in about.items() if key not in ("key", "target")}
        if label(about) not in known:
            missing.append((row.key, row.method))
    assert {method for _, method in missing} <= NOT_RUN, missing
    assert all(key.startswith(("fedimpro.table6", "fedimpro.table10")) for key, _ in missing)


def test_targets_are_looked_for():
    specs = {name: load_spec(name, "impro", "paper").spec for name in ("table1", "table8", "table9")}
    for row in ROWS:
        if row.metric == "rounds_to_target":
            own = specs[row.setting]
            about = words(row.subject)
            target = own.grid["task"][about["task"]].get("target", own.target)
            assert float(about["target"]) in target, row.key
