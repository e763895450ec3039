"""The whole cell on digits: its rows and files against computations of their own; kills and damage."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE
from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.vog.agreement import agreements
from experiments.vog.cells import cells, compute
from experiments.vog.stored import pixels, shown
from tests.vog.toy import spec

REMOVAL = {"after": 2, "random": 1}


def run(folder, own, seed=0, point="", **more):
    folder.mkdir(exist_ok=True)
    rows = compute(own, point, seed, Context(folder, **more))
    return {(r["method"], r["metric"], r["subject"], r.get("round")): r for r in rows}


def untimed(rows):
    return {key: row for key, row in rows.items() if key[1] != "seconds"}


class StopError(Exception):
    pass


def stopping(at):
    """Progress that ends the run at its sign number `at`."""
    signs = iter(range(1, at + 1))

    def progress(*_):
        if next(signs) == at:
            raise StopError

    return progress


def noting(signs):
    """Progress that notes what is done."""
    return lambda *given: signs.append(given[0])


def count_signs(folder, own):
    signs = []
    rows = run(folder, own, progress=noting(signs))
    return signs, rows


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The problem of the toy and its states after each round, by the plain twin."""
    built = build(spec(), 0, Context(tmp_path_factory.mktemp("plain")))
    return built.problem, [state.clone() for _, state in simulate_plain(built.problem, BASE, built.start)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The rows, and the folder."""
    folder = tmp_path_factory.mktemp("cell") / "it"
    return run(folder, spec(), point="task=toy"), folder


def right(problem, theta, x, y):
    return 100 * float((problem.net.call(theta, x).argmax(1) == y).double().mean())


def test_losses_and_accuracies_by_round(found, plain):
    problem, states = plain
    rows, data = found[0], problem.federation
    for t, theta in enumerate(states, 1):
        of = {metric: rows["train", metric, "task=toy", t] for metric in ("test_accuracy", "train_accuracy")}
        assert of["test_accuracy"]["value"] == pytest.approx(right(problem, theta, data.test_x, data.test_y))
        assert of["train_accuracy"]["value"] == pytest.approx(right(problem, theta, data.x, data.y))
        assert (of["test_accuracy"]["n"], of["train_accuracy"]["n"]) == (len(data.test_y), len(data.y))
        losses = problem.net.losses(problem.net.call(theta, data.test_x), data.test_y)
        assert rows["train", "test_loss", "task=toy", t]["value"] == pytest.approx(float(losses.mean()))


def test_the_scores_are_of_the_states_after_the_rounds(found, plain):
    problem, states = plain
    data, stored = problem.federation, np.load(found[1] / "scores.npz")
    assert stored["methods"].tolist() == ["vog", "loss"] and stored["steps"].tolist() == [1, 2, 3, 4]
    losses = problem.net.losses(problem.net.call(states[-1], data.x), data.y)
    assert stored["raw"][1] == pytest.approx(losses.detach().numpy(), rel=1e-5)
    x = data.x.clone().requires_grad_()
    maps = []
    for theta in states:
        total = problem.net.losses(problem.net.call(theta, x), data.y).sum()
        maps.append(torch.autograd.grad(total, x)[0].mean(1))
    expected = torch.stack(maps).std(0, correction=0).flatten(1).mean(1)
    assert stored["raw"][0] == pytest.approx(expected.numpy(), rel=1e-4)
    assert found[0]["vog", "score_mean", "task=toy", None]["value"] == pytest.approx(float(expected.mean()))
    assert found[0]["vog", "seconds", "task=toy of=scores", None]["value"] > 0
    assert stored["labels"].tolist() == data.y.tolist() and not stored["flipped"].any() and stored["classes"] == 10


def test_only_the_rounds_asked_for_are_scored(tmp_path, plain):
    run(tmp_path / "it", spec(every=3, rounds=4, methods=["vog"]))
    assert np.load(tmp_path / "it/scores.npz")["steps"].tolist() == [3, 4]


def test_images_of_every_grid_are_kept_as_they_were(found, plain):
    stored, data = np.load(found[1] / "scores.npz"), plain[0].federation
    labels, held = data.y.numpy(), set(stored["image_rows"].tolist())
    for raw in stored["raw"]:
        for label in range(10):
            rows = np.flatnonzero(labels == label)
            order = rows[np.argsort(raw[rows])]
            assert {*order[:5].tolist(), *order[-5:].tolist()} <= held
    assert len(held) < len(labels) and stored["images"].shape == (len(held), 1, 28, 28)
    first = data.x[int(stored["image_rows"][0])]
    assert np.abs(stored["images"][0] / 255 - first.numpy()).max() <= 0.5 / 255 + 1e-9


def test_bytes_come_back_whatever_mean_and_deviation_they_were_scaled_by():
    original = torch.randint(256, (40, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    original[0, :, 0, 0], original[0, :, 0, 1] = 0, 255
    mean, deviation = torch.tensor([0.49, 0.48, 0.44]), torch.tensor([0.24, 0.25, 0.26])
    normalised = (original.float() / 255 - mean[:, None, None]) / deviation[:, None, None]
    assert (pixels(normalised[5:9], normalised) == original[5:9].numpy()).all()


def test_grids_over_all_classes_are_ranked_by_scaled_scores():
    scores, labels = np.array([0.0, 0.1, 1.0, 0.2, 0.9, np.nan]), np.array([0, 0, 0, 1, 1, 2])
    assert shown(scores, scores, labels, 1) == {0, 2, 3, 4, 5}
    assert shown(scores[:5], scores[:5], np.zeros(5, dtype=int), 1) == {0, 2}


def test_ties_of_scaled_scores_are_decided_by_the_raw_ones():
    assert shown(np.array([1.0, 1.0, 0.0, 0.0]), np.array([3.0, 9.0, 2.0, 1.0]), np.zeros(4, dtype=int), 1) == {1, 3}


def test_planted_labels_are_wrong_and_the_same_for_every_seed(tmp_path):
    kept = {}
    for seed in (0, 1):
        run(tmp_path / str(seed), spec(planted=0.1), seed)
        kept[seed] = np.load(tmp_path / str(seed) / "scores.npz")
    clean = build(spec(), 0, Context(tmp_path)).problem.federation.y.numpy()
    flipped = kept[0]["flipped"]
    assert flipped.sum() == round(0.1 * len(clean))
    assert ((kept[0]["labels"] != clean) == flipped).all() and len(set(kept[0]["labels"][flipped])) > 5
    assert (kept[1]["flipped"] == flipped).all() and (kept[1]["labels"] == kept[0]["labels"]).all()
    assert not np.allclose(kept[0]["raw"], kept[1]["raw"])


def test_agreement_of_two_methods():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 60))
    y += x
    y[7] = np.nan
    rows = {(r["metric"], r["subject"]): r for r in agreements({"vog": x, "loss": y}, "eps=4")}
    fine = np.arange(60) != 7
    every = rows["scores_pearson", "eps=4 against=loss pick=all"]
    assert every["value"] == pytest.approx(stats.pearsonr(x[fine], y[fine])[0]) and every["n"] == 59
    assert rows["scores_spearman", "eps=4 against=loss pick=all"]["value"] == pytest.approx(
        stats.spearmanr(x[fine], y[fine])[0]
    )
    some = set()
    for values in (x, y):
        order = [i for i in np.argsort(values) if fine[i]]
        some |= {*order[:5], *order[-5:]}
    extremes = rows["scores_pearson", "eps=4 against=loss pick=extremes"]
    assert extremes["n"] == len(some) and extremes["value"] == pytest.approx(
        stats.pearsonr(x[sorted(some)], y[sorted(some)])[0]
    )
    low, high = (rows[f"scores_pearson_{end}", "eps=4 against=loss pick=all"]["value"] for end in ("low", "high"))
    assert low < every["value"] < high


def test_a_killed_cell_goes_on_to_the_same_numbers(tmp_path):
    """Killed within the training, the scores, and the worlds of the removal."""
    own = spec(removal=REMOVAL)
    signs, whole = count_signs(tmp_path / "whole", own)
    places = {what: signs.index(what) + 1 for what in dict.fromkeys(signs)}
    assert {"rounds", "samples, vog", "rounds without samples"} <= set(places)
    for what, at in places.items():
        folder = tmp_path / what.replace(" ", "_").replace(",", "")
        with pytest.raises(StopError):
            run(folder, own, progress=stopping(at))
        told, again = [], []
        rows = run(folder, own, tell=told.append, progress=noting(again))
        assert untimed(rows) == untimed(whole), what
        if what == "rounds without samples":
            assert "rounds" not in again and any("resuming at round 4" in line for line in told)
        elif what.startswith("samples"):
            assert "rounds" not in again
        assert (np.load(folder / "scores.npz")["raw"] == np.load(tmp_path / "whole/scores.npz")["raw"]).all()


def test_a_method_that_was_done_is_not_scored_again(tmp_path):
    own = spec(methods=["loss", "vog"])
    signs, _ = count_signs(tmp_path / "whole", own)
    with pytest.raises(StopError):
        run(tmp_path / "it", own, progress=stopping(signs.index("samples, vog") + 1))
    again = []
    run(tmp_path / "it", own, progress=noting(again))
    assert "samples, loss" in signs and "samples, loss" not in again and "samples, vog" in again


def test_a_damaged_state_is_trained_anew(tmp_path):
    own = spec()
    signs, whole = count_signs(tmp_path / "whole", own)
    with pytest.raises(StopError):
        run(tmp_path / "it", own, progress=stopping(signs.index("samples, vog") + 1))
    (tmp_path / "it/state-00002.ckpt").write_bytes(b"spoilt")
    warned, again = [], []
    rows = run(tmp_path / "it", own, warn=warned.append, progress=noting(again))
    assert any("a kept state is damaged" in line for line in warned) and again.count("rounds") == 4
    assert untimed(rows) == untimed(whole)


def test_numbers_to_predict_are_refused(tmp_path):
    (tmp_path / "own.csv").write_text("a,y\n" + "".join(f"{i % 7},{i / 7}\n" for i in range(40)))
    data = {"kind": "csv", "path": str(tmp_path / "own.csv"), "label": "y", "target": "number"}
    with pytest.raises(SpecError, match=r"numbers to predict"):
        compute(spec(data=data), "", 0, Context(tmp_path))


def test_a_class_whose_scores_have_no_scale_is_told(tmp_path):
    warned = []
    own = spec(methods=["forgetting"]).model_copy(update={"scale": "small"})
    run(tmp_path, own, warn=warned.append)
    assert all("forgetting of the whole run: class" in line and "undefined" in line for line in warned)


def test_a_cell_says_what_it_costs():
    (cheap,), (dear,) = cells(spec()), cells(spec(removal=REMOVAL))
    assert 0 < cheap.work < dear.work and cheap.worlds == 1 and dear.worlds == 1 + 1 + 2 * 2
    assert 0 < cheap.memory <= dear.memory and math.isfinite(dear.work)
