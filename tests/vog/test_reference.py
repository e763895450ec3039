"""The printed numbers: they load, each has a label of its own, and they ask for what a setting that exists makes."""

from pathlib import Path

import pytest

import experiments
from experiments.core.estimators.method import known
from experiments.core.estimators.sample_score import SampleScore
from experiments.core.report.reference import load
from experiments.core.spec.find import settings
from experiments.core.spec.grid import label, points
from experiments.core.spec.load import load as load_spec
from experiments.core.subject import words
from experiments.vog.spec import ORDER, WORDS

ROWS = load(Path(experiments.__file__).parent / "vog" / "reference.csv")
WITHIN = {"pick", "draw", "share", "against", "key", "between", "first", "second", "class"}
"""Words of subjects that do not name a point of the grid."""


def grid(name):
    own = load_spec(name, "vog", "paper").spec
    return [point for point, _ in points(own.grid, ORDER, WORDS)]


def test_all_the_numbers_are_there():
    """51 entries of the list, of which three are pairs and one is a triple."""
    table = [row for row in ROWS if row.key.startswith("vog_plis.table1.")]
    assert (len(ROWS), len(table)) == (56, 12)
    assert {(words(row.subject)["eps"], row.method): row.number for row in table} == {
        ("1", "loss"): 56.6, ("1", "grad_norm"): 55.1, ("1", "vog"): 52.4, ("1", "plis"): 49.9,
        ("4", "loss"): 63.6, ("4", "grad_norm"): 61.8, ("4", "vog"): 58.8, ("4", "plis"): 55.6,
        ("8", "loss"): 66.7, ("8", "grad_norm"): 64.8, ("8", "vog"): 61.7, ("8", "plis"): 58.0,
    }  # fmt: skip


def test_labels_are_their_own():
    assert len({row.label for row in ROWS}) == len(ROWS)


def test_settings_and_methods_exist():
    assert {row.setting for row in ROWS} <= {path.stem for path in settings("vog")["vog"]}
    assert {row.method for row in ROWS} <= {*known(SampleScore), "config", "train", ""}


@pytest.mark.parametrize("setting", sorted({row.setting for row in ROWS}))
def test_they_stand_beside_points_of_the_setting_s_grid(setting):
    """Every word of a subject that is an axis has a value of that axis; a number of one cell names its whole point."""
    known_points = grid(setting)
    values = {axis: {point[axis] for point in known_points} for axis in known_points[0]}
    for row in ROWS:
        about = words(row.subject)
        if row.setting != setting or not about:
            continue
        point = {key: value for key, value in about.items() if key not in WITHIN}
        assert all(value in values[axis] for axis, value in point.items()), row.key
        if "between" in about:
            assert {about["first"], about["second"]} <= values[about["between"]], row.key
        elif row.metric in ("removal_accuracy", "scores_pearson", "config"):
            assert label(point) in {label(one) for one in known_points}, row.key


def test_what_the_paper_says_of_its_setup_is_in_the_settings():
    own = load_spec("table1", "vog", "paper").spec
    assert own.removal.share == 0.25 and 5 <= own.removal.after <= 10
    assert 10 <= own.rounds - own.removal.after <= 20
    of = {name: own.grid["eps"][name]["privacy"] for name in ("1", "4", "8")}
    assert {(name, block["epsilon"], block["delta"]) for name, block in of.items()} == {
        ("1", 1, 1e-5), ("4", 4, 1e-5), ("8", 8, 1e-5)
    }  # fmt: skip
    xray = load_spec("xray", "vog", "paper").spec
    assert {block["privacy"]["delta"] for name, block in xray.grid["eps"].items() if name != "none"} == {1e-4}
    assert (xray.data.height, xray.data.width, xray.data.colour) == (224, 224, "grey")
    size = load_spec("size", "vog", "paper").spec
    assert size.grid["eps"]["4"]["privacy"]["delta"] == 1.1e-6
    assert [one["model"] for one in grid("models")[::2]] == [
        "resnet9", "resnet18", "resnet101", "resnext101", "wideresnet50", "wideresnet101"
    ]  # fmt: skip
