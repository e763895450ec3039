"""Leaving samples out: against retraining by hand, the next seed's cell, and scores that know the answer."""

import numpy as np
import pytest
import torch

from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Context
from experiments.vog import retrained, truth
from experiments.vog.blocks import GroupsSpec, TruthSpec
from experiments.vog.cells import compute
from tests.vog import toy

TRUTH = {"samples": 7, "groups": {"sizes": [3, 5], "count": 3}, "nulls": 2}


def iris(**more):
    """A network on Iris, quick enough to be trained a few dozen times."""
    flowers = {"data": {"kind": "iris"}, "model": {"kind": "mlp", "hidden": [5]}, "local": LOCAL, "rounds": 3}
    return toy.spec(**{**flowers, "truth": TRUTH, "formulation": "dense", **more})


LOCAL = {"lr": 0.3, "epochs": 1, "batch_size": 30}


def cell(folder, seed=0, **more):
    """The rows and the arrays of a cell."""
    folder.mkdir(exist_ok=True)
    rows = compute(iris(**more), "", seed, Context(folder))
    return rows, np.load(folder / truth.FILE)


def value(rows, method, metric, subject):
    (found,) = [
        row["value"] for row in rows if (row["method"], row["metric"], row["subject"]) == (method, metric, subject)
    ]
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return cell(tmp_path_factory.mktemp("cells") / "seed0")


def by_hand(built, left):
    """The mean test loss of a model that was trained without some rows."""
    net, data = built.problem.net, built.problem.federation
    theta = by_hand_state(built, left, data.y)
    return float(net.losses(net.call(theta, data.test_x), data.test_y).mean())


def by_hand_state(built, left, y):
    """The state of a model that was trained without some rows, on labels y, by a loop over batches."""
    problem = built.problem
    net, data = problem.net, problem.federation
    theta = built.start.clone()
    for t in range(1, 4):
        for rows in problem.local.batches(len(data.y), problem.seed, 0, t):
            stay = torch.tensor([row for row in rows.tolist() if row not in left])
            w = theta.requires_grad_()
            loss = net.losses(net.call(w, data.x[stay]), y[stay]).mean()
            theta = (w - LOCAL["lr"] * torch.autograd.grad(loss, w)[0]).detach()
    return theta


def test_truths_are_those_of_training_by_hand(measured, tmp_path):
    built, arrays = build(iris(), 0, Context(tmp_path)), measured[1]
    base = by_hand(built, [])
    for k, count in enumerate((7, 3, 3)):
        assert arrays[f"rows_{k}"].shape == (count, arrays["sizes"][k])
        found = [by_hand(built, rows.tolist()) - base for rows in arrays[f"rows_{k}"][:2]]
        assert arrays[f"truth_{k}"][:2] == pytest.approx(found, abs=1e-12)
        assert np.abs(found).min() > 1e-6


def test_the_ceiling_is_the_truth_of_the_next_seed(measured, tmp_path):
    arrays = cell(tmp_path / "next", seed=1)[1]
    for k in range(3):
        assert (arrays[f"rows_{k}"] == measured[1][f"rows_{k}"]).all()
        assert measured[1][f"ceiling_{k}"] == pytest.approx(arrays[f"truth_{k}"], abs=1e-13)
        assert not np.allclose(arrays[f"truth_{k}"], measured[1][f"truth_{k}"])


def test_rows_hold_floor_spread_ceiling_and_every_score(measured):
    rows, arrays = measured
    assert value(rows, "train", "null_spread", "") < 1e-3 * value(rows, "train", "truth_spread", "truth=sample size=1")
    for k, subject in enumerate(("truth=sample size=1", "truth=group size=3", "truth=group size=5")):
        assert value(rows, "train", "truth_spread", subject) == pytest.approx(arrays[f"truth_{k}"].std())
        for method, metric in (("train", "ceiling"), ("vog", "truth"), ("loss", "truth")):
            low, middle, high = (
                value(rows, method, f"{metric}_spearman{end}", subject) for end in ("_low", "", "_high")
            )
            assert -1 <= low <= middle <= high <= 1


def test_what_is_left_out_is_in_range_and_every_sample_comes_once():
    block = TruthSpec(samples="all", groups=GroupsSpec(sizes=(4,), count=5))
    alone, groups = truth.left_out(block, 20)
    assert [rows for (rows,) in alone.rows] == list(range(20))
    assert all(len(set(rows)) == 4 and min(rows) >= 0 and max(rows) < 20 for rows in groups.rows)
    assert len({tuple(rows) for rows in groups.rows}) == 5
    for wrong in (TruthSpec(samples=21), replace_groups(block, 20)):
        with pytest.raises(SpecError, match="more is to be left out than 20 training samples"):
            truth.left_out(wrong, 20)


def replace_groups(block, size):
    return block.model_copy(update={"groups": GroupsSpec(sizes=(size,), count=5)})


def test_a_score_that_is_the_truth_correlates_fully_and_samples_without_a_scale_do_not_count():
    kind = truth.LeftOut(truth.GROUP, 2, [[0, 1], [2, 3], [1, 4], [0, 4], [5, 6]])
    scores = np.array([0.1, 0.5, 0.2, 0.9, 0.3, np.nan, 0.4])
    rows = Rows("")
    truth.correlations(rows, "vog", "truth", kind.of(scores), np.array([0.6, 1.1, 0.8, 0.4, 9.0]), kind)
    assert value(rows.rows, "vog", "truth_spearman", "truth=group size=2") == 1
    assert {row["n"] for row in rows.rows} == {4}
    few = Rows("")
    truth.correlations(few, "vog", "truth", np.array([1.0, np.nan, 2.0]), np.ones(3), kind)
    assert not few.rows


def test_stacks_of_few_worlds_give_the_same_truths(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(retrained, "side_by_side", lambda size: 4)
    arrays = cell(tmp_path / "few", truth={**TRUTH, "ceiling": False})[1]
    for k in range(3):
        assert arrays[f"truth_{k}"] == pytest.approx(measured[1][f"truth_{k}"], abs=1e-13)
    assert "ceiling_0" not in arrays


def test_the_price_counts_every_training():
    block = TruthSpec(samples="all", groups=GroupsSpec(sizes=(4, 8), count=5), nulls=3)
    assert block.trainings(20) == 2 * (20 + 10) + 3
    assert block.worlds(20, 100) == 63 and block.worlds(5000, 100) == 257
    with pytest.raises(ValueError, match="samples: 0 and no groups"):
        TruthSpec(samples=0)
