"""Every number that the paper's README prints of our results stands in the CSV that it names."""

import csv
from pathlib import Path

import pytest

import experiments.impro
from tests import claims

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "small" / "impro"
README = (Path(experiments.impro.__file__).parent / "README.md").read_text(encoding="utf-8")
LINES = claims.lines_of(README, "IM")


def test_every_claim_has_a_line():
    assert {line[0] for line in LINES} == {f"IM{i}" for i in range(1, 14)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line[0]} {line[3]}")
def test_a_line_says_what_its_row_says(line):
    """Columns: claim, sentence without numbers of ours, `value [low, high], n`, the artefact and its row."""
    for ours, theirs in claims.compared(RESULTS, line):
        assert ours == pytest.approx(theirs, rel=6e-3, abs=6e-3)


def column(name, key, value, **where):
    with (RESULTS / f"{name}.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row[k] == v for k, v in where.items())]
    return {row[key]: float(row[value]) for row in rows}


def test_what_is_said_of_the_presets():
    """In words: their order, and which single differences recover most."""
    best, single = column("presets", "variant", "best"), column("presets", "variant", "difference")
    lowest, highest = column("presets", "variant", "low"), column("presets", "variant", "high")
    assert best["paper"] > best["fedavg"] > best["released"] and lowest["paper"] > highest["fedavg"]
    largest = sorted((name for name in single if name.startswith("released_")), key=single.__getitem__)[-2:]
    assert set(largest) == {"released_momentum", "released_clipped"}


@pytest.mark.parametrize("fl", ["a 0.05, E 1, M 10", "a 0.1, E 1, M 10"])
def test_what_is_said_of_scaffolds_learning_rate(fl):
    best = column("accuracy-scaffold", "variant", "best", fl=fl)
    assert 1 < best["fedavg"] - best["released_small_steps"] < 6
    assert best["fedavg"] - best["released"] > 30 and best["fedavg"] - best["published"] > 30
