"""Every number that the paper's README prints of our results stands in the CSV that it names."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

import experiments.vog
from experiments.core.report.reference import load
from experiments.core.scores.images import bhattacharyya, grid
from experiments.vog.figures import _OF_ROWS
from experiments.vog.grid_pairs import FIGURES
from tests import claims

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "small" / "vog"
FOLDER = Path(experiments.vog.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
LINES = claims.lines_of(README, "VG")
MEASURED = [line for line in LINES if line[3]]
OPEN = "to be measured"


def test_every_claim_has_a_line():
    assert {line[0] for line in LINES} == {f"VG{i}" for i in range(1, 12)}


def test_a_claim_without_a_number_says_that_it_is_open():
    assert all(line[1:] == [OPEN, "", ""] for line in LINES if line not in MEASURED)


@pytest.mark.parametrize("line", MEASURED, ids=lambda line: f"{line[0]} {line[3]}")
def test_a_line_says_what_its_row_says(line):
    """Columns: claim, sentence without numbers of ours, `value [low, high], n`, the artefact and its row."""
    for ours, theirs in claims.compared(RESULTS, line):
        assert ours == pytest.approx(theirs, rel=6e-3, abs=6e-3)


_SAID = {
    "holds zero": lambda low, high: low <= 0 <= high,
    "above zero": lambda low, high: low > 0,
    "below zero": lambda low, high: high < 0,
}


def test_words_about_zero_are_what_the_intervals_say():
    told = [(word, line) for line in MEASURED for word in _SAID if word in line[1]]
    assert len(told) > 20
    for word, (claim, sentence, _, source) in told:
        row = claims.published(RESULTS, claim, source)
        assert _SAID[word](float(row["low"]), float(row["high"])), sentence


def test_the_numbers_of_the_paper_are_its_own():
    printed = {row.key: row.value for row in load(FOLDER / "reference.csv")}
    bd = "vog_plis.figure4.cifar10.bird.resnet18.grad_norm.dp_eps4_vs_nondp.bd"
    assert printed[bd] == "0.914" and "0.914 and 0.886" in README
    pair = [printed[f"vog_plis.corr.plis_vs_vog.{which}"] for which in ("first", "second")]
    assert f"{pair[0]} and {pair[1]}" in README


def test_what_is_said_of_the_bhattacharyya_distance():
    """Random grids of a class are near each other, the darkest and the brightest birds are not."""
    path = Path(os.environ.get("FEDLAB_DATA_DIR", "")) / "cifar10" / "cifar10_subset.npz"
    if not path.is_file():
        pytest.skip("the subset of CIFAR-10 is not here: set FEDLAB_DATA_DIR")
    with np.load(path) as arrays:
        images = arrays["train_images"].transpose(0, 3, 1, 2) / 255
        birds = np.flatnonzero(arrays["train_labels"].ravel() == 2)
    draw = np.random.default_rng(0)
    for _ in range(5):
        rows = draw.permutation(birds)
        assert bhattacharyya(grid(images[rows[:25]]), grid(images[rows[25:50]])) < 0.1
    rising = birds[np.argsort(images[birds].mean((1, 2, 3)))]
    assert bhattacharyya(grid(images[rising[:25]]), grid(images[rising[-25:]])) > 1


def test_every_artefact_is_in_the_readme():
    named = set(re.findall(r"`([a-z_]+\d*)(?:-[a-z0-9*]+)?`", README.partition("## Running")[0]))
    figures = {figure for of_setting in FIGURES.values() for figure in of_setting}
    missing = (
        {*_OF_ROWS} | figures | {"consistency", "agreement", "claims", "size", "scores", "picks", "grids"}
    ) - named
    assert not missing


def test_the_client_with_wrong_labels_has_the_highest_reward_and_the_least_worth():
    with (RESULTS / "rewards-clients.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "the client with wrong labels gets the highest reward of every score" in README.replace("\n", " ")
    for eps in ("4", "none"):
        here = [row for row in rows if row["eps"] == eps]
        worth = {row["client"]: float(row["value"]) for row in here if row["metric"] == "client_truth"}
        assert min(worth, key=worth.__getitem__) == "0" and worth["0"] < 0
        for method in ("vog", "plis", "loss", "grad_norm", "el2n"):
            paid = {
                row["client"]: float(row["value"])
                for row in here
                if (row["metric"], row["method"], row["release"]) == ("reward", method, "exact")
            }
            assert len(paid) == 10 and max(paid, key=paid.__getitem__) == "0", method
