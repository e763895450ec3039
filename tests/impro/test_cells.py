"""The whole cell on digits: every row against a computation of its own; runs that diverge; resumption."""

import math

import numpy as np
import pytest
import torch

from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.study.ccvr import calibrated
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.impro.cells import cells, compute
from tests.toys.impro import SPEC, spec

CLASSES, HIDDEN = 10, 12
TARGETS = [15, 23, 99]
DIVERGES = {**SPEC["local"], "lr": 1e200}


def run(folder, own, **more):
    folder.mkdir(exist_ok=True)
    warned: list[str] = []
    rows = compute(own, "", 0, Context(folder, warn=warned.append, **more))
    return {(r["metric"], r["subject"], r.get("round")): r for r in rows}, warned


def values(rows, metric):
    return {key[2]: row["value"] for key, row in rows.items() if key[0] == metric and not key[1]}


def untimed(rows):
    return {key: row for key, row in rows.items() if key[0] != "train_seconds"}


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("cell") / "it", spec(target=TARGETS))[0]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The problem, and what the engine hands out in every round."""
    built = build(spec(), 0, Context(tmp_path_factory.mktemp("plain")))
    seen = []

    class Watch:
        needs_iterates = False

        def observe(self, record):
            seen.append(record)

    simulate(built.problem, [BASE], built.start, Looped(built.problem.net), observers=[Watch()])
    return built.problem, seen


def test_accuracy_is_the_share_of_test_samples_that_are_right(found, watched):
    problem, records = watched
    x, y = problem.federation.test_x, problem.federation.test_y
    right = [
        sum(int(problem.net.call(r.after, one[None]).argmax()) == int(k) for one, k in zip(x, y, strict=True))
        for r in records
    ]
    assert values(found, "accuracy") == {t: pytest.approx(100 * n / len(y)) for t, n in enumerate(right, 1)}
    assert found["accuracy", "", 1]["n"] == len(y)


def test_best_last_and_mean_of_the_last_ten(tmp_path):
    rows, _ = run(tmp_path / "long", spec(rounds=13, target=TARGETS))
    curve = [values(rows, "accuracy")[t] for t in range(1, 14)]
    assert rows["best_accuracy", "", None]["value"] == max(curve)
    assert rows["best_round", "", None]["value"] == 1 + curve.index(max(curve))
    assert rows["last_accuracy", "", None]["value"] == curve[-1]
    assert rows["last_ten_accuracy", "", None]["value"] == pytest.approx(np.mean(curve[3:]))
    for target in TARGETS:
        row = rows["rounds_to_target", f"target={target}", None]
        first = next((t for t, value in enumerate(curve, 1) if value >= target), math.nan)
        assert row["value"] == pytest.approx(first, nan_ok=True) and row["n"] == 13
        assert math.isnan(first) if target == 99 else first > 1


def test_rounds_that_are_not_evaluated_count_neither_for_the_best_nor_for_a_target(tmp_path):
    rows, _ = run(tmp_path / "sparse", spec(rounds=5, evaluate_every=2, target=[1]))
    assert set(values(rows, "accuracy")) == {2, 4, 5} == set(values(rows, "weight_divergence"))
    assert rows["rounds_to_target", "target=1", None]["value"] == 2
    assert rows["last_ten_accuracy", "", None]["n"] == 3


def test_divergence_is_the_mean_distance_of_local_models_from_their_mean(found, watched):
    """By state dicts, as from files of recorded models: one client, one tensor after another."""
    problem, records = watched
    named = [name for name, _ in problem.net.module.named_parameters()]
    for record in records:
        models = [problem.net.views(local) for local in record.locals]
        share = [float(n) / float(record.sizes.sum()) for n in record.sizes]
        mean = {name: sum(w * model[name] for w, model in zip(share, models, strict=True)) for name in named}
        apart = [{name: float(torch.linalg.norm(model[name] - mean[name])) for name in named} for model in models]
        whole = np.mean([math.sqrt(sum(d**2 for d in one.values())) for one in apart])
        assert found["weight_divergence", "", record.index]["value"] == pytest.approx(whole)
        for depth, name in enumerate(named):
            row = found["layer_divergence", f"layer={name} depth={depth}", record.index]
            assert row["value"] == pytest.approx(np.mean([one[name] for one in apart])) and row["n"] == 3


def test_layers_are_measured_for_the_algorithms_named_and_in_the_rounds_chosen(tmp_path):
    prox = {"kind": "fedprox", "mu": 0.1}
    assert not any(key[0] == "layer_divergence" for key in run(tmp_path / "a", spec(algorithm=prox, rounds=1))[0])
    rows, _ = run(tmp_path / "b", spec(algorithm=prox, rounds=5, layers_of=["fedprox"], layers_every=2))
    assert {key[2] for key in rows if key[0] == "layer_divergence"} == {2, 4, 5}
    rows, _ = run(tmp_path / "c", spec(divergence=False, rounds=1))
    assert not any("divergence" in key[0] for key in rows)


P = 28 * 28 * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
TOOK_PART = 5  # clients of eight that are drawn in two rounds of three
STATISTICS = 2 * CLASSES * HIDDEN  # means and deviations of the features behind the hidden layer


@pytest.mark.parametrize(
    ("algorithm", "up", "down", "remembered"),
    [
        ({"kind": "fedavg"}, P, P, 0),
        ({"kind": "fednova"}, P + 1, P, 0),
        ({"kind": "feddyn", "alpha": 0.1}, P, P, P + TOOK_PART * P),
        ({"kind": "scaffold"}, 2 * P, 2 * P, P + TOOK_PART * P),
        ({"kind": "fedimpro", "split": "fc1"}, P + STATISTICS, P + STATISTICS, STATISTICS),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_bytes_are_eight_for_each_number_sent(algorithm, up, down, remembered, tmp_path):
    rows, _ = run(tmp_path / "it", spec(algorithm=algorithm, rounds=2))
    assert len({k for drawn in draw_schedule(0, 8, 3, 2) for k in drawn}) == TOOK_PART
    bytes_ = {"upload_bytes": up, "download_bytes": down, "state_bytes": remembered}
    assert {metric: rows[metric, "", None]["value"] for metric in bytes_} == {m: 8 * n for m, n in bytes_.items()}
    assert rows["train_seconds", "", None]["value"] > 0


def test_the_weight_of_sampled_features_is_the_share_of_its_epochs(tmp_path, found):
    impro = {"kind": "fedimpro", "split": "fc1", "until": 4}
    rows, _ = run(tmp_path / "it", spec(algorithm=impro))
    assert values(rows, "sampled_weight") == {t: pytest.approx((t - 1) * 2 / 4) for t in (1, 2, 3, 4)}
    assert not values(found, "sampled_weight")


def test_a_run_that_diverges_ends_in_rows_and_says_in_which_round(tmp_path):
    rows, warned = run(tmp_path / "it", spec(local=DIVERGES, target=[1]))
    t = int(rows["diverged", "", None]["value"])
    curve = values(rows, "accuracy")
    assert set(curve) == {1, 2, 3, 4} and all(math.isnan(curve[s]) == (s >= t) for s in curve)
    assert all(math.isnan(value) == (s >= t) for s, value in values(rows, "loss").items())
    assert math.isnan(rows["last_accuracy", "", None]["value"]) and math.isnan(
        rows["last_ten_accuracy", "", None]["value"]
    )
    assert rows["rounds_to_target", "target=1", None]["n"] == t - 1
    assert any("fedavg diverged" in line for line in warned)


def test_what_was_reached_before_it_diverged_counts(tmp_path, monkeypatch):
    """The third round is poisoned."""
    from experiments.core.engine.local import LocalTraining

    lr_at = LocalTraining.lr_at
    monkeypatch.setattr(LocalTraining, "lr_at", lambda self, t: math.nan if t == 3 else lr_at(self, t))
    rows, _ = run(tmp_path / "it", spec(target=[1]))
    curve = values(rows, "accuracy")
    assert rows["diverged", "", None]["value"] == 3 and math.isnan(curve[3]) and math.isnan(curve[4])
    assert rows["best_accuracy", "", None]["value"] == max(curve[1], curve[2])
    assert rows["rounds_to_target", "target=1", None]["value"] == 1
    assert rows["rounds_to_target", "target=1", None]["n"] == 2


def test_a_run_that_does_not_diverge_says_so(found):
    assert math.isnan(found["diverged", "", None]["value"]) and found["diverged", "", None]["n"] == 4


@pytest.mark.parametrize("algorithm", [{"kind": "scaffold"}, {"kind": "fedimpro", "split": "fc1", "until": 2}], ids=str)
def test_killed_and_resumed_it_ends_in_the_same_rows(algorithm, tmp_path):
    own = spec(algorithm=algorithm, target=TARGETS, layers_of=["scaffold", "fedimpro"])
    wanted, _ = run(tmp_path / "quiet", own)

    def stop(what, done, total):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        run(tmp_path / "killed", own, progress=stop)
    resumed: list[str] = []
    again, _ = run(tmp_path / "killed", own, tell=resumed.append)
    assert any("round 3" in line for line in resumed), resumed
    assert repr(untimed(again)) == repr(untimed(wanted))  # NaN is not equal to itself


def test_a_cell_is_known_by_what_it_computes_with_not_by_other_cells_tunings():
    """The rate of another algorithm changes no cell of this one."""
    grid = {"algorithm": {"fedavg": {}, "scaffold": {"algorithm": {"kind": "scaffold"}}}}
    plain = cells(spec(grid=grid))
    own = cells(spec(grid=grid, tuning=[{"algorithm": "scaffold", "keys": {"local.lr": 0.01}}]))
    assert [cell.id == other.id for cell, other in zip(plain, own, strict=True)] == [True, False]
    assert own[1].params["local"]["lr"] == 0.01 and own[0].params["local"]["lr"] == 0.02


def test_the_configuration_is_told(found, watched):
    problem, _ = watched
    told = {key[1].removeprefix("key="): row["value"] for key, row in found.items() if key[0] == "config"}
    assert told["clients"] == 8 and told["participants"] == 3 and told["rounds"] == 4 and told["epochs"] == 2
    assert told["parameters"] == P and told["alpha"] == 1.0 and told["smallest_client"] == min(problem.federation.sizes)
    held = [len(set(problem.federation.of(k)[1].tolist())) for k in range(8)]
    assert told["labels_per_client"] == pytest.approx(np.mean(held))
    assert found["learning_rate", "", None]["value"] == 0.02


def test_the_last_model_is_calibrated_where_asked(tmp_path, watched):
    problem, seen = watched
    tmp_path.mkdir(exist_ok=True)
    rows = compute(spec(ccvr={"samples": 30, "decay": 0.01}), "", 0, Context(tmp_path))
    mine = {row["metric"]: row["value"] for row in rows if row["method"] == "fedavg+ccvr"}
    state, numbers = calibrated(problem, seen[-1].after, 30, 0.01)
    data = problem.federation
    right = (problem.net.call(state, data.test_x).argmax(1) == data.test_y).double().mean()
    assert mine["last_accuracy"] == pytest.approx(100 * float(right), abs=1e-6)
    assert mine["upload_bytes"] == state.element_size() * numbers == state.element_size() * CLASSES * (1 + HIDDEN + 78)
