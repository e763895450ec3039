"""The whole cell on digits: named clients, truth and chance against recomputation by hand; faults; resumption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE, without_client
from experiments.core.estimators.numerics.tracefl_hooked import hooked
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.trace.cells import _with_faults, cells, compute
from experiments.trace.spec import FaultSpec
from tests.toys.trace import spec


def run(folder, own, **more):
    folder.mkdir(exist_ok=True)
    warned: list[str] = []
    rows = compute(own, "", 0, Context(folder, warn=warned.append, **more))
    return {(r["method"], r["metric"], r["subject"], r.get("round")): (r["value"], r.get("n")) for r in rows}, warned


def untimed(found):
    return {key: value for key, value in found.items() if key[1] != "seconds"}


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    return (*run(folder, spec()), folder)


@pytest.fixture(scope="module")
def last_round(tmp_path_factory):
    """The problem, and what the engine hands out after the last round."""
    built = build(spec(), 0, Context(tmp_path_factory.mktemp("plain")))
    seen = []

    class Watch:
        needs_iterates = False

        def observe(self, record):
            seen[:] = [record]

    simulate(built.problem, [BASE], built.start, Looped(built.problem.net), observers=[Watch()])
    return built, seen[0]


def chosen_by_hand(built, record):
    """Test samples traced in that round and the participants that hold their label, one plain loop."""
    data, net = built.problem.federation, built.problem.net
    predicted = [int(net.call(record.after, data.test_x[i : i + 1]).argmax()) for i in range(120)]
    held = [set(data.of(k)[1].tolist()) for k in record.participants]
    samples = []
    for label in range(10):
        if any(label in own for own in held):
            right = [i for i in range(120) if predicted[i] == int(data.test_y[i]) == label][:2]
            samples += right if len(right) == 2 else []
    return samples, [[int(data.test_y[i]) in own for own in held] for i in samples]


def test_localization_is_that_of_the_hooked_twin(found, last_round):
    rows, warned, _ = found
    built, record = last_round
    samples, right = chosen_by_hand(built, record)
    scores = hooked(built.problem.net, record.after, record.locals, built.problem.federation.test_x[samples])
    named = [bool(right[i][int(scores[i].argmax())]) for i in range(len(samples))]
    assert rows["tracefl", "localization", "scope=correct", 4] == (pytest.approx(100 * np.mean(named)), len(samples))
    assert rows["chance", "chance", "scope=correct", 4][0] == pytest.approx(100 * np.mean(right))
    assert rows["inputs", "inputs", "scope=correct", 4][0] == len(samples)
    # Four rounds teach this model nothing, which is said; nothing else is wrong.
    assert ["no better than the majority" in line for line in warned] == [True]


def test_truth_is_that_of_worlds_without_each_participant(found, last_round):
    _, _, folder = found
    built, record = last_round
    kept = np.load(folder / "inputs.npz")
    samples, _ = chosen_by_hand(built, record)
    x = built.problem.federation.test_x[samples]
    worlds = [BASE, *(without_client(k, since=4) for k in record.participants)]
    states = simulate(built.problem, worlds, built.start, Looped(built.problem.net))
    outputs = torch.stack([built.problem.net.call(state, x) for state in states])
    target = outputs[0].argmax(1)
    fall = [(outputs[0] - without).gather(1, target[:, None])[:, 0] for without in outputs[1:]]
    assert np.allclose(kept["truth"], torch.stack(fall, 1).numpy(), atol=1e-9)
    assert kept["clients"].tolist() == list(record.participants)
    assert kept["label"].tolist() == built.problem.federation.test_y[samples].tolist()
    assert np.allclose(kept["scores"].sum(1), 1)
    for k, row in zip(record.participants, kept["histogram"], strict=True):
        assert row.tolist() == np.bincount(built.problem.federation.of(k)[1].numpy(), minlength=10).tolist()


def test_the_kinds_of_tracefl_differ_from_it_in_what_they_are_named_after_alone(tmp_path):
    kinds = ["tracefl", "tracefl_shares", "tracefl_flat", "tracefl_centred"]
    same = {"shares": True, "decay": 1.0, "bias": "centred"}
    rows, _ = run(tmp_path, spec(methods=[{"kind": kind, **same} for kind in kinds], rounds=1))
    assert len({rows[kind, "pearson_truth", "scope=correct", 1] for kind in kinds}) == 1


def test_first_order_follows_the_truth_closely_once_updates_are_small(tmp_path):
    slow = {"optimizer": "sgd", "lr": 0.001, "epochs": 1, "batch_size": 64}
    rows, _ = run(tmp_path, spec(local=slow, rounds=1, inputs={"among": 160, "per_label": 1}))
    assert rows["first_order", "pearson_truth", "scope=correct", 1][0] > 0.99
    assert rows["first_order", "hit_truth", "scope=correct", 1][0] == 100


def test_a_planted_fault_is_found(tmp_path):
    faults = {"clients": [0], "to": 0}
    partition = {"kind": "dirichlet_balanced", "clients": 4, "alpha": 5.0, "min_label": 2}
    own = spec(faults=faults, partition=partition, rounds=3, methods=["tracefl", "feddebug", "norm"])
    rows, _ = run(tmp_path, own)
    wrong = [rows[key] for key in rows if key[:3] == ("tracefl", "localization", "scope=wrong")]
    assert wrong and all(value == 100 for value, _ in wrong)
    assert rows["chance", "chance", "scope=wrong", 3][0] == 25
    assert rows["feddebug", "localization", "scope=wrong", 3][1] == 10
    assert ("feddebug", "localization", "scope=correct", 3) not in rows
    kept = np.load(tmp_path / "inputs.npz")
    assert kept["faulty"].tolist() == [True, False, False, False]
    assert set(np.flatnonzero(kept["histogram"][0])) == {0}


def test_the_faulty_client_is_the_one_named(tmp_path):
    problem = build(spec(), 0, Context(tmp_path)).problem
    federation = problem.federation
    named = replace(federation, clients=("3", "b, c", "0", "a", *(f"s{k}" for k in range(4, len(federation.sizes)))))
    for word, place in (("3", 0), ("#3", 3), ("0", 2), ("b, c", 1)):
        own = spec().model_copy(update={"faults": FaultSpec(clients=(word,), to=1)})
        flipped = _with_faults(own, replace(problem, federation=named)).federation
        assert [k for k in range(4) if set(flipped.of(k)[1].tolist()) == {1}] == [place]


def test_a_round_of_faulty_participants_alone_is_no_question_for_feddebug(tmp_path):
    partition = {"kind": "dirichlet_balanced", "clients": 4, "alpha": 5.0, "min_label": 2}
    own = spec(
        faults={"clients": [0, 1, 2], "to": 0}, partition=partition, clients_per_round=2, methods=["norm", "feddebug"]
    )
    rows, _ = run(tmp_path, own)
    chances = {
        t: value for (method, _, subject, t), (value, _) in rows.items() if "chance" in method and "wrong" in subject
    }
    judged = {t for method, metric, _, t in rows if (method, metric) == ("feddebug", "localization")}
    assert 100 in chances.values() and judged == {t for t, value in chances.items() if value < 100}


def test_a_round_without_a_right_prediction_is_told(tmp_path):
    rows, warned = run(tmp_path, spec(inputs={"among": 3, "per_label": 3}, rounds=2))
    assert rows["inputs", "inputs", "scope=correct", 1] == (0, None)
    assert rows["inputs", "inputs", "scope=correct", 2] == (0, None)
    assert not any(metric == "localization" for _, metric, _, _ in rows)
    assert any("no prediction could be traced" in line for line in warned)
    assert not (tmp_path / "inputs.npz").exists()


def test_a_killed_cell_ends_in_the_same_rows(tmp_path, found):
    def stop(what, done, total):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        run(tmp_path, spec(), progress=stop)
    again, _ = run(tmp_path, spec())
    assert untimed(again) == untimed(found[0])
    first, second = (np.load(place / "inputs.npz") for place in (found[2], tmp_path))
    assert all(np.array_equal(first[key], second[key]) for key in first.files)


def test_noise_moves_the_model_sent_on_not_the_one_traced_before_it(tmp_path):
    noisy = {"privacy": {"clip": 5.0, "noise": 1.0}, "rounds": 1}
    before, _ = run(tmp_path / "a", spec(**noisy))
    after, _ = run(tmp_path / "b", spec(**noisy, traced="after"))
    clipped, _ = run(tmp_path / "c", spec(privacy={"clip": 5.0, "noise": 0.0}, rounds=1))
    key = ("global", "loss", "", 1)
    assert before[key] == clipped[key] != after[key]
    exact, equal = (before["privacy", name, "", None][0] for name in ("epsilon", "epsilon_equal"))
    assert 0 < equal < exact


def test_first_order_of_a_noisy_model_leaves_the_noise_where_it_is(tmp_path):
    slow = {"optimizer": "sgd", "lr": 0.001, "epochs": 1, "batch_size": 64}
    inputs = {"among": 160, "per_label": 1}
    own = spec(local=slow, rounds=1, inputs=inputs, privacy={"clip": 5.0, "noise": 0.1}, traced="after")
    rows, _ = run(tmp_path, own)
    assert rows["first_order", "pearson_truth", "scope=correct", 1][0] > 0.99


def test_a_cell_for_every_point_of_the_grid():
    made = cells(spec(grid={"partition.alpha": [0.1, 1.0], "clients_per_round": [2, 3]}, seeds=[0, 1]))
    assert [cell.method for cell in made][::2] == [
        "alpha=0.1 per_round=2", "alpha=0.1 per_round=3", "alpha=1 per_round=2", "alpha=1 per_round=3",
    ]  # fmt: skip
    assert len({cell.id for cell in made}) == 8
