"""Models of the user's own that are more than layers, through the commands: the same numbers, or one line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from experiments.core.report import artefacts
from fedlab_cli.main import main
from tests.toys import federated as tiny
from tests.toys import recorded as own

NETS = """
import torch
import torch.nn.functional as F
from torch import nn


def body(first, *between, classes):
    return nn.Sequential(nn.Flatten(), first, *between, nn.Linear(4, classes))


def dropped(shape, classes):
    return body(nn.Linear(60, 4), nn.ReLU(), nn.Dropout(0.5), classes=classes)


def frozen(shape, classes):
    module = body(nn.Linear(60, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), classes=classes)
    module[3].requires_grad_(False)
    return module


def lazy(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Tanh(), nn.Linear(4, classes))


def cumulative(shape, classes):
    return body(nn.Linear(60, 4), nn.BatchNorm1d(4, momentum=None), nn.Tanh(), classes=classes)


def all_frozen(shape, classes):
    return dropped(shape, classes).requires_grad_(False)


class Restless(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(shape[0], classes)

    def forward(self, x):
        return self.head(F.dropout(x))
"""
SETTING = {
    "rounds": 3,
    "local": {"lr": 0.3, "epochs": 1, "batch_size": 10},
    "formulation": "auto",
    "clients_per_round": 3,
}


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A working directory with a module of the user's own; no pictures."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    (tmp_path / "oddnets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("oddnets", None)


def train(tmp_path, model, out, *more):
    config = tiny.write(tmp_path, paper="train", **SETTING)
    assert main(["train", "-c", str(config), "--model", f"oddnets:{model}", "--out", str(out), "-q", *more]) == 0
    (cell,) = out.glob("train/*/*/cell.json")
    return cell.parent


def test_dropout_is_the_same_wherever_the_process_s_generators_stand(tmp_path):
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        folders.append(train(tmp_path, "dropped", tmp_path / str(seed), "-j", str(seed)))
    first, second = ((folder / "rows.csv").read_bytes() for folder in folders)
    assert first == second
    states = [safetensors.torch.load_file(folder / "model.safetensors") for folder in folders]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_frozen_parameters_stay_and_are_counted_apart(tmp_path):
    folder = train(tmp_path, "frozen", tmp_path / "out", "--record")
    facts = json.loads((folder / "provenance.json").read_text())["facts"]
    assert (facts["parameters"], facts["frozen"]) == (60 * 4 + 4 + 4 * 5 + 5, 4 * 5)
    saved = [safetensors.torch.load_file(path) for path in sorted(folder.rglob("*.safetensors"))]
    assert len(saved) == 1 + 3 * (1 + 3)
    assert all(torch.equal(s["3.weight"], saved[0]["3.weight"]) for s in saved)
    assert not all(torch.equal(s["1.weight"], saved[0]["1.weight"]) for s in saved)
    own.trace(folder, "--model", "oddnets:frozen")


def test_lazy_layers_take_their_sizes_from_the_data(tmp_path):
    folder = train(tmp_path, "lazy", tmp_path / "out")
    again = train(tmp_path, "lazy", tmp_path / "again")
    assert (folder / "rows.csv").read_bytes() == (again / "rows.csv").read_bytes()
    assert safetensors.torch.load_file(folder / "model.safetensors")["1.weight"].shape == (4, 60)


def test_counters_are_saved_with_the_model(tmp_path):
    folder = train(tmp_path, "cumulative", tmp_path / "out", "--set", "local.batch_size=999", "--set", "local.epochs=2")
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    assert saved["2.num_batches_tracked"].dtype == torch.int64 and int(saved["2.num_batches_tracked"]) == 3 * 2


@pytest.mark.parametrize(
    ("paper", "model", "message"),
    [
        ("train", "all_frozen", "all 4 parameters of the model are frozen"),
        ("influence", "Restless", "the model draws random numbers in evaluation mode, too"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path, capsys, paper, model, message):
    config = tiny.write(tmp_path, paper=paper, **SETTING, **({"cleansing": None} if paper == "influence" else {}))
    assert main([paper, "-c", str(config), "--model", f"oddnets:{model}", "--out", str(tmp_path / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_model_that_stays_random_is_evaluated_with_a_remark(tmp_path, capsys):
    config = tiny.write(tmp_path, paper="train", **SETTING)
    assert main(["train", "-c", str(config), "--model", "oddnets:Restless", "--out", str(tmp_path / "out")]) == 0
    assert "draws random numbers in evaluation mode, too" in " ".join(capsys.readouterr().err.split())


def test_a_prediction_that_changes_from_look_to_look_is_not_traced(tmp_path, capsys):
    import oddnets

    own.save(tmp_path / "run", own.states(oddnets.Restless((4,), 3), 3), classes=3, shape=[4])
    np.savez("x.npz", x=np.ones((2, 4), dtype=np.float32))
    own.trace(tmp_path / "run", "--model", "oddnets:Restless", "--inputs", "x.npz", code=2)
    assert "draws random numbers in evaluation mode, too" in " ".join(capsys.readouterr().err.split())
