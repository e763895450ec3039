"""`fedlab train`: what a run writes, records and resumes."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from experiments.core.engine.accounting import epsilon
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE
from experiments.core.report import artefacts
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.train import cells as train
from fedlab_cli.main import main
from tests.toys import federated as tiny


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")


def config_of(folder, **more):
    return tiny.write(folder, paper="train", **more)


@pytest.fixture
def plain(tmp_path):
    """The problem, and its states round by round on the plain path."""
    spec = tiny.loaded(config_of(tmp_path, name="plain"))
    built = build(spec, 0, Context(tmp_path))
    return built.problem, dict(simulate_plain(built.problem, BASE, built.start))


def of_rounds(out):
    """The metrics but for the base model beside the majority class."""
    frame = tiny.metrics(out)
    return frame[frame["method"] != "base_model"]


def test_rows_are_the_plain_path_s(tmp_path, plain):
    p, states = plain
    assert tiny.command("train", config_of(tmp_path), tmp_path / "runs") == 0
    frame = of_rounds(tmp_path / "runs")
    assert sorted(set(frame["round"])) == [2, 4, 6] and len(frame) == 6 and set(frame["method"]) == {"base"}
    for t in (2, 4, 6):
        views = p.net.views(states[t])
        with torch.no_grad():
            z = torch.func.functional_call(p.net.module, views, p.federation.test_x)
        loss, y = float(functional.cross_entropy(z, p.federation.test_y)), p.federation.test_y
        assert tiny.value(frame, metric="loss", round=t) == pytest.approx(loss, rel=1e-9)
        assert tiny.value(frame, metric="accuracy", round=t) == pytest.approx(
            100 * float((z.argmax(1) == y).double().mean()), abs=1e-7
        )


@pytest.mark.parametrize("more", [(), ("--exclude-clients", "7,9")])
def test_a_private_run_tells_its_epsilon(tmp_path, more):
    private = ("--set", "privacy.clip=0.5", "--set", "privacy.noise=0.9", "--set", "privacy.delta=1e-3")
    config, out = config_of(tmp_path, clients_per_round=3), [tmp_path / "private", tmp_path / "bare"]
    assert tiny.command("train", config, out[0], *private, *more) == 0
    assert tiny.command("train", config, out[1], *more) == 0
    frame, bare = of_rounds(out[0]), of_rounds(out[1])
    kept = frame[frame["method"] != "privacy"]
    assert len(frame) == len(bare) + 2 and not (kept["value"].to_numpy() == bare["value"].to_numpy()).any()
    p = build(tiny.loaded(config, "smoke", *private[1::2]), 0, Context(tmp_path)).problem
    out_of = set(map(int, more[1].split(","))) if more else set()
    weakest = 0.9
    for drawn in p.schedule:
        counts = [0 if k in out_of else p.federation.sizes[k] for k in drawn]
        weakest = min(weakest, 0.9 * sum(counts) / (len(drawn) * max(counts)))
    for metric, noise in (("epsilon", weakest), ("epsilon_equal", 0.9)):
        told = tiny.value(frame, method="privacy", metric=metric)
        assert told == pytest.approx(epsilon(noise, 3 / 20, 6, 1e-3), rel=1e-9)
    assert tiny.value(frame, metric="epsilon") > tiny.value(frame, metric="epsilon_equal") > 0


def test_a_last_round_off_the_grid_is_evaluated_too(tmp_path):
    assert tiny.command("train", config_of(tmp_path, evaluate_every=4), tmp_path / "runs") == 0
    assert sorted(set(of_rounds(tmp_path / "runs")["round"])) == [4, 6]


def test_the_record_of_every_round(tmp_path, plain):
    p, states = plain
    assert tiny.command("train", config_of(tmp_path), tmp_path / "runs", "--record") == 0
    (rounds,) = (tmp_path / "runs").rglob("rounds")
    assert sorted(f.name for f in rounds.iterdir()) == [f"0000{t}" for t in range(1, 7)]
    for t in range(1, 7):
        told = json.loads((rounds / f"0000{t}" / "round.json").read_text())
        assert told["round"] == t and tuple(told["participants"]) == p.schedule[t - 1]
        assert told["sizes"] == [p.federation.sizes[k] for k in p.schedule[t - 1]]
        local = [flat(p, rounds / f"0000{t}" / f"client_{k}.safetensors") for k in told["participants"]]
        whole = flat(p, rounds / f"0000{t}" / "global.safetensors")
        share = torch.tensor(told["sizes"]).double() / sum(told["sizes"])
        torch.testing.assert_close(share @ torch.stack(local), whole, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(whole, states[t], rtol=1e-9, atol=1e-12)
    (final,) = (tmp_path / "runs").rglob("model.safetensors")
    torch.testing.assert_close(flat(p, final), states[6], rtol=1e-9, atol=1e-12)


def flat(p, path):
    tensors = safetensors.torch.load_file(path)
    assert set(tensors) == set(p.net.module.state_dict())
    return torch.cat([tensors[s.name].reshape(-1) for s in p.net.params])


@pytest.mark.parametrize("more", [(), ("--exclude-clients", "7,9", "--since", "2")])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, monkeypatch, more):
    config = config_of(tmp_path)
    assert tiny.command("train", config, tmp_path / "quiet", *more) == 0
    note, seen = train._Diary.note, []

    def stop(self, t, state):
        seen.append(t)
        if len(seen) == 5:
            raise KeyboardInterrupt
        note(self, t, state)

    monkeypatch.setattr(train._Diary, "note", stop)
    assert tiny.command("train", config, tmp_path / "runs", *more) == 130
    assert tiny.command("train", config, tmp_path / "runs", *more) == 0
    assert seen == [1, 2, 3, 4, 5, 5, 6]
    for name in ("metrics.csv", "model.safetensors"):
        found, wanted = (next((tmp_path / d).rglob(name)).read_bytes() for d in ("runs", "quiet"))
        assert found == wanted


@pytest.mark.parametrize("name", ["00002/global.safetensors", "00003/round.json"])
def test_rounds_that_were_spoilt_while_the_run_lay_still_are_recorded_anew(tmp_path, monkeypatch, capsys, name):
    config, record = config_of(tmp_path), train._Diary._record
    assert tiny.command("train", config, tmp_path / "quiet", "--record") == 0

    def stop(self, told):
        if told.index == 5:
            raise KeyboardInterrupt
        record(self, told)

    with monkeypatch.context() as patched:
        patched.setattr(train._Diary, "_record", stop)
        assert tiny.command("train", config, tmp_path / "runs", "--record") == 130
    (path,) = (tmp_path / "runs").rglob(name)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    line = ["train", "--config", str(config), "--out", str(tmp_path / "runs"), "--device", "cpu", "--scale", "smoke"]
    assert main([*line, "--jobs", "1", "--record"]) == 0
    assert f"the recorded rounds/{name} is damaged" in capsys.readouterr().err
    (found,), (wanted,) = ((tmp_path / d).rglob("rounds") for d in ("runs", "quiet"))
    for file in wanted.rglob("*.*"):
        assert (found / file.relative_to(wanted)).read_bytes() == file.read_bytes()


def test_every_world_has_a_folder_of_its_own(tmp_path):
    config, out = config_of(tmp_path), tmp_path / "runs"
    for more in ((), ("--exclude-clients", "9,7"), ("--exclude-clients", "7,9", "--since", "3")):
        assert tiny.command("train", config, out, *more) == 0
    told = tiny.value(tiny.metrics(next((out / "train").glob("tiny-*"))), metric="base_loss")
    assert told == pytest.approx(tiny.value(of_rounds(out / "train/tiny-smoke"), metric="loss", round=6), rel=1e-9)
    found = sorted(f.name for f in (out / "train").iterdir())
    assert found == ["tiny-smoke", "tiny.without.7+9-smoke", "tiny.without.7+9.since.3-smoke"]


def test_batchnorm_buffers_are_saved_and_averaged(tmp_path, monkeypatch):
    """The final state dict loads into the module, running statistics and integer counters included."""
    (tmp_path / "bnnets.py").write_text(
        "from torch import nn\n\ndef bn(shape, classes):\n"
        "    return nn.Sequential(nn.Linear(shape[0], 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = config_of(tmp_path, formulation="looped", data={"kind": "leaf_synthetic", "clients": 6, "max_samples": 40,
                                                             "min_samples": 9}, clients_per_round=3)  # fmt: skip
    assert tiny.command("train", config, tmp_path / "runs", "--model", "bnnets:bn") == 0
    import bnnets

    (final,) = (tmp_path / "runs").rglob("model.safetensors")
    tensors = safetensors.torch.load_file(final)
    module = bnnets.bn((60,), 5).double()
    module.load_state_dict(tensors)
    assert tensors["1.num_batches_tracked"].dtype == torch.int64
    assert float(tensors["1.running_mean"].abs().max()) > 0 and not np.allclose(tensors["1.running_var"].numpy(), 1)


def test_the_progress_line_says_loss_and_accuracy_of_the_model_so_far(tmp_path):
    told = []
    spec = tiny.loaded(config_of(tmp_path))
    (cell,) = train.cells(spec)
    rows = cell.compute(Context(tmp_path, status=told.append))
    at = {(row["metric"], row["round"]): row["value"] for row in rows if row.get("method") == "base"}
    assert told == [f"base loss {at['loss', t]:.4g}, accuracy {at['accuracy', t]:.1f} %" for t in (2, 4, 6)]
