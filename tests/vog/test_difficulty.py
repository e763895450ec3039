"""Held-out losses and planted labels, against training by hand and scores that know the answer."""

import numpy as np
import pytest
import torch

from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.vog import difficulty
from experiments.vog.cells import compute
from experiments.vog.stored import FILE
from tests.vog.test_truth import LOCAL, by_hand_state, iris, value


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    rows = compute(iris(truth=None, difficulty={"folds": 3}, planted=0.1), "", 0, Context(folder))
    return rows, np.load(folder / difficulty.FILE), np.load(folder / FILE)


def test_held_out_losses_are_those_of_models_that_never_saw_the_fold(measured, tmp_path):
    _, arrays, scores = measured
    built = build(iris(), 0, Context(tmp_path))
    net, data = built.problem.net, built.problem.federation
    y = torch.from_numpy(scores["labels"])
    for k in range(3):
        part = torch.from_numpy(np.flatnonzero(arrays["fold"] == k))
        outputs = net.call(by_hand_state(built, part.tolist(), y), data.x[part])
        assert arrays["held_out_loss"][part] == pytest.approx(net.losses(outputs, y[part]).numpy(), abs=1e-12)
        assert (arrays["held_out_error"][part] == (outputs.argmax(1) != y[part]).numpy()).all()


def test_a_tenth_of_the_labels_is_wrong_and_found_by_the_loss(measured):
    rows, _, scores = measured
    assert scores["flipped"].sum() == 12
    assert value(rows, "loss", "noise_auroc", "") > 0.8
    low, high = (value(rows, "loss", f"noise_auroc_{end}", "") for end in ("low", "high"))
    assert low < value(rows, "loss", "noise_auroc", "") < high
    wrong, right = (value(rows, "train", "held_out_loss", f"labels={word}") for word in ("planted", "right"))
    assert wrong > right + 0.5


def test_correlations_are_over_right_labels(measured):
    rows = measured[0]
    subject = "against=held_out_loss"
    (n,) = {row["n"] for row in rows if row["metric"] == "difficulty_spearman" and row["subject"] == subject}
    assert n == 108
    assert value(rows, "loss", "difficulty_spearman", subject) > 0.3


def test_a_private_run_is_also_held_against_models_without_noise(measured, tmp_path):
    private = {"kind": "sgd", "clip": 1.0, "noise": 0.5, "delta": 1e-3}
    faster = {**LOCAL, "lr": 0.7}
    more = {"truth": None, "planted": 0.1, "privacy": private, "local": faster}
    rows = compute(iris(difficulty={"folds": 3, "plain_lr": LOCAL["lr"]}, **more), "", 0, Context(tmp_path))
    arrays = np.load(tmp_path / difficulty.FILE)
    assert arrays["plain_held_out_loss"] == pytest.approx(measured[1]["held_out_loss"], abs=1e-12)
    assert np.abs(arrays["held_out_loss"] - arrays["plain_held_out_loss"]).max() > 0.05
    assert {row["subject"] for row in rows if row["metric"] == "difficulty_spearman"} == {
        f"against={word}held_out_{what}" for word in ("", "plain_") for what in ("loss", "error")
    }


def test_folds_have_equal_sizes_and_hold_every_sample_once():
    fold = difficulty.folds(3, 11)
    assert sorted(np.bincount(fold)) == [3, 4, 4]
    assert (fold == difficulty.folds(3, 11)).all() and (fold[:-1] > fold[1:]).any()
    with pytest.raises(SpecError, match=r"12 folds of 11 samples; difficulty\.folds; lower it"):
        difficulty.folds(12, 11)
