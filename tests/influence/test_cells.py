"""`fedlab influence` against `fedlab train --exclude-clients`, the plain path; and what a run writes down."""

import math
from types import SimpleNamespace

import pytest
import torch

from experiments.core.engine.formulations import formulations
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.worlds import BASE, World, without_client
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.fed_influence import FedInfluence
from experiments.core.names import positions
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.influence import cells as module
from experiments.influence.cells import cells, explosion
from tests.toys import federated as tiny

pytestmark = pytest.mark.usefixtures("no_pictures")
TOLERANCE = 1e-9
"""Relative, in float64: the engine's dense products against loss.backward(), one client after another."""
TOLERANCE_32 = 1e-5


@pytest.fixture(scope="module")
def built(run, tmp_path_factory):
    spec = tiny.loaded(run[0])
    return build(spec, 0, Context(tmp_path_factory.mktemp("built")))


def took_part(built, client):
    return [t for t, drawn in enumerate(built.problem.schedule, 1) if client in drawn]


def excluded(config, out, clients, *more):
    assert tiny.command("train", config, out, "--exclude-clients", clients, *more) == 0
    return tiny.metrics(out)


@pytest.mark.parametrize("client", [7, 3])
def test_one_client_left_out_on_the_plain_path_is_its_world_in_the_truth(run, built, tmp_path, client):
    _, truth = run
    assert took_part(built, client)
    config = tiny.write(tmp_path, paper="train")
    plain = excluded(config, tmp_path / "runs", str(client))
    loss, accuracy = (tiny.value(plain, metric=m, round=6) for m in ("loss", "accuracy"))
    base = tiny.value(truth, method="base", metric="loss", round=6)
    influence = tiny.value(truth, method="exact", metric="fil", subject=f"client={client}", round=6)
    assert abs(influence) > 1e-4
    assert loss == pytest.approx(base + influence, rel=TOLERANCE)
    change = tiny.value(truth, method="exact", metric="fia", subject=f"client={client}", round=6)
    assert accuracy == pytest.approx(tiny.value(truth, method="base", metric="accuracy", round=6) + change, abs=1e-7)
    assert set(plain["method"]) == {f"without:{client}", "base_model"} and set(plain["round"].dropna()) == {2, 4, 6}


def test_the_same_in_float32(tmp_path):
    config = tiny.write(tmp_path, dtype="float32", cleansing=None, variants=["lwet_fisher"])
    assert tiny.command("influence", config, tmp_path / "i") == 0
    truth = tiny.metrics(tmp_path / "i")
    plain = excluded(tiny.write(tmp_path, "plain", "train", dtype="float32"), tmp_path / "t", "7")
    expected = tiny.value(truth, method="base", metric="loss", round=6) + tiny.value(
        truth, method="exact", metric="fil", subject="client=7", round=6
    )
    assert tiny.value(plain, metric="loss", round=6) == pytest.approx(expected, rel=TOLERANCE_32)


def test_nobody_left_out_is_the_base_world(run, tmp_path):
    config = tiny.write(tmp_path, paper="train")
    assert tiny.command("train", config, tmp_path / "runs") == 0
    whole = tiny.metrics(tmp_path / "runs")
    for t in (2, 4, 6):
        for metric in ("loss", "accuracy"):
            expected = tiny.value(run[1], method="base", metric=metric, round=t)
            assert tiny.value(whole, metric=metric, round=t) == pytest.approx(expected, rel=TOLERANCE)


def test_leaving_out_from_a_later_round_is_the_engine_s_world(built, tmp_path):
    client = next(k for k in range(3, 20) if len(took_part(built, k)) >= 2 and took_part(built, k)[0] < 4)
    since = took_part(built, client)[-1]
    world = World("w", frozenset({client, 2}), since)
    config = tiny.write(tmp_path, paper="train")
    plain = excluded(config, tmp_path / "runs", f"{client},2", "--since", str(since))
    p = built.problem
    late, whole = simulate(p, [BASE, world], built.start, formulations()["dense"](p.net)).flip(0)
    assert not torch.equal(late, whole)
    f = p.federation
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(load(p.net, late).eval()(f.test_x), f.test_y)
    assert tiny.value(plain, metric="loss", round=6) == pytest.approx(float(expected), rel=TOLERANCE)
    never = excluded(config, tmp_path / "all", f"{client},2")
    assert tiny.value(never, metric="loss", round=6) != pytest.approx(float(expected), rel=1e-6)


def test_every_world_of_the_truth_is_a_plain_run(run, built):
    """Not only the client of the day: all twenty rows of the truth."""
    p, f = built.problem, built.problem.federation
    base = tiny.value(run[1], method="base", metric="loss", round=6)
    for client in range(20):
        *_, (_, state) = simulate_plain(p, without_client(client), built.start)
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(load(p.net, state).eval()(f.test_x), f.test_y))
        found = tiny.value(run[1], method="exact", metric="fil", subject=f"client={client}", round=6)
        assert base + found == pytest.approx(loss, rel=TOLERANCE)


def test_what_is_told_of_the_federation(run, built):
    frame, f = run[1], built.problem.federation
    config = frame[frame["metric"] == "config"].set_index("subject")["value"]
    assert tuple(config[f"key={key}"] for key in ("clients", "rounds", "counted", "cleansing_round")) == (20, 6, 20, 4)
    assert tuple(config[f"key={key}"] for key in ("parameters", "train_samples", "test_samples")) == (
        305,
        len(f.y),
        len(f.test_y),
    )
    for k, size in enumerate(f.sizes):
        assert tiny.value(frame, metric="client_size", subject=f"client={k}") == size
        labels = f.of(k)[1].tolist()
        for c in set(labels):
            assert tiny.value(frame, metric="label_count", subject=f"client={k} label={c}") == labels.count(c)
    assert frame[frame["metric"] == "label_count"]["value"].sum() == len(f.y)
    assert set(frame["dataset"]) == {"leaf_synthetic"} and set(frame["seed"]) == {0}


def test_counted_clients_are_drawn_by_the_seed_and_estimated_first(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path, counted=5))
    counted = module._counted(spec, 0, 20)
    assert len(set(counted)) == 5 and counted == sorted(counted) and counted != module._counted(spec, 1, 20)
    assert module._counted(spec, 0, 20) == counted
    variants = module._columns(spec, counted, 20)
    assert variants["basic"].clients == tuple(counted)
    assert variants["lwet_fisher"].clients[:5] == tuple(counted)
    assert sorted(variants["lwet_fisher"].clients) == list(range(20))
    assert (variants["basic"].hessian, variants["basic"].lwet) == ("blocks", None)
    assert (variants["lwet_fisher"].hessian, variants["lwet_fisher"].lwet) == ("fisher", "iid")
    named = SimpleNamespace(positions=lambda words, where: positions(words, [f"s{k}" for k in range(20)], where))
    assert module._tracked(spec, named, 0, counted) in counted
    for word in (f"s{counted[2]}", f"#{counted[2]}"):
        assert module._tracked(spec.model_copy(update={"tracked_client": word}), named, 0, counted) == counted[2]
    with pytest.raises(SpecError, match="5 clients to count, but the data has 4"):
        module._counted(spec, 0, 4)
    out = next(k for k in range(20) if k not in counted)
    with pytest.raises(SpecError, match=f"client 's{out}' is not among those counted"):
        module._tracked(spec.model_copy(update={"tracked_client": f"s{out}"}), named, 0, counted)


def test_what_changes_the_numbers_changes_the_cell_and_nothing_else_does(tmp_path):
    def id_of(**more):
        return cells(tiny.loaded(tiny.write(tmp_path, **more)))[0].id

    same = [id_of(), id_of(title="x", checkpoint_seconds=9.0, formulation="looped")]
    other = [
        id_of(gradients=6),
        id_of(rounds=7),
        id_of(variants=["basic", {"kind": "lwet_fisher", "truncation": "noniid"}]),
        id_of(seeds=[1]),
        id_of(counted=9),
    ]
    assert len(set(same)) == 1 and len({*same, *other}) == 6


def test_explosion():
    def rows(method, metric, values, subject="tensors=all"):
        return [
            {"method": method, "metric": metric, "subject": subject, "round": 10 * (i + 1), "value": v}
            for i, v in enumerate(values)
        ]

    truth = rows("exact", "fip_norm", [0.0, 1.0, 1.0, 1.0])
    norms = rows("basic", "fip_norm", [0.0, 2.0, 10.5, 99.0]) + rows("basic", "fip_error", [0.0, 2.0, 9.0, 98.0])
    tensors = rows("basic", "fip_norm", [0, 0, 0, 3.0], "tensor=w") + rows(
        "basic", "fip_norm", [0, 9, 9, 7.0], "tensor=b"
    )
    found = {r["metric"]: r["value"] for r in explosion(truth + norms + tensors, ["w", "b"])}
    assert found == {"fip_norm_rises": 30.0, "fip_error_rises": 40.0, "exploding_layer": 2.0}
    assert (
        explosion(truth + rows("basic", "fip_norm", [0, 2, 3, 4.0]) + rows("basic", "fip_error", [0, 1, 1, 1.0]), [])
        == []
    )


def test_a_variant_that_leaves_the_finite_numbers_is_stopped_and_the_rest_goes_on(run, tmp_path, monkeypatch):
    combine = FedInfluence._combine

    def poisoned(self, track, record, *given):
        if record.index == 3:
            track.change[0, 2] = math.inf
        combine(self, track, record, *given)

    monkeypatch.setattr(FedInfluence, "_combine", poisoned)
    assert tiny.command("influence", run[0], tmp_path / "runs") == 0
    frame = tiny.metrics(tmp_path / "runs")
    for variant in ("basic", "lwet_fisher"):
        assert set(frame[frame["method"] == variant]["round"].astype(int)) == {2}
    exact = [frame[(frame["method"] == "exact") & (frame["metric"] == "fil")] for frame in (frame, run[1])]
    assert exact[0]["value"].tolist() == exact[1]["value"].tolist()
    assert set(frame[frame["metric"] == "cleansing_loss"]["method"]) == {"random"}  # nothing to rank by
    (log,) = (tmp_path / "runs").rglob("log.txt")
    assert "variant basic left the finite numbers in round 3 and was stopped" in log.read_text()
