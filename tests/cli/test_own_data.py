"""A user's own data, in each of its forms, and a model of the user's own, through both commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from experiments.core.report import artefacts
from experiments.core.subject import subject
from tests.toys import federated as tiny
from tests.toys import fragility as fragile

NETS = """
from torch import nn


def small(shape, classes):
    size = 1
    for n in shape:
        size *= n
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 4), nn.Tanh(), nn.Linear(4, classes))


def trained(shape, classes):
    net = small(shape, classes)
    for number, tensor in enumerate(net.parameters()):
        nn.init.constant_(tensor, 0.1 * number + 0.05)
    return net
"""


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A working directory with a module of the user's own; no pictures."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    (tmp_path / "ownnets").mkdir()
    (tmp_path / "ownnets" / "__init__.py").write_text("")
    (tmp_path / "ownnets" / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


def csv(folder):
    rng = np.random.default_rng(0)
    rows = [f"{'abcde'[k % 5]},{x:.3f},{z:.3f},{'yes' if x + z > 0 else 'no'}"
            for k, (x, z) in enumerate(rng.normal(size=(120, 2)))]  # fmt: skip
    (folder / "cases.csv").write_text("\n".join(["hospital,age,dose,outcome", *rows]) + "\n")
    return {"kind": "csv", "path": "cases.csv", "label": "outcome", "client": "hospital"}, "natural", "abcde", 2


def npz(folder):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 80)
    x = (60 * y[:, None, None] + rng.integers(0, 60, (80, 6, 6))).astype(np.uint8)
    owners = np.array([f"c{k % 4}" for k in range(60)])
    np.savez(folder / "mine.npz", train_images=x[:60], train_labels=y[:60], test_images=x[60:], test_labels=y[60:],
             train_clients=owners)  # fmt: skip
    return {"kind": "image_npz", "path": "mine.npz"}, "natural", ["c0", "c1", "c2", "c3"], 3


def leaf(folder):
    rng = np.random.default_rng(2)
    for part, n in (("train", 12), ("test", 5)):
        users = {
            f"u{k}": {"x": rng.normal(size=(n + k, 4)).tolist(), "y": [i % 3 for i in range(n + k)]} for k in range(4)
        }
        (folder / "leaf" / part).mkdir(parents=True)
        content = {"users": list(users), "num_samples": [len(u["y"]) for u in users.values()], "user_data": users}
        (folder / "leaf" / part / "all_data_0.json").write_text(json.dumps(content))
    return {"kind": "leaf_json", "path": "leaf"}, "natural", ["u0", "u1", "u2", "u3"], 3


def images(folder):
    rng = np.random.default_rng(3)
    for label, (name, level) in enumerate((("cat", 30), ("dog", 140))):
        (folder / "pets" / name).mkdir(parents=True)
        for k in range(25):
            pixels = np.full((6, 6), level + 5 * label) + rng.integers(0, 80, (6, 6))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "pets" / name / f"{k}.png")
    return {"kind": "image_folder", "path": "pets", "height": 6, "width": 6}, {"kind": "iid", "clients": 5}, "01234", 2


FORMS = {"csv": csv, "image_npz": npz, "leaf_json": leaf, "image_folder": images}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_through_both_commands_with_a_model_of_ones_own(tmp_path, form):
    data, partition, clients, classes = FORMS[form](tmp_path)
    partition = {"kind": partition} if isinstance(partition, str) else partition
    more = {"data": data, "partition": partition, "clients_per_round": 3, "local": {"lr": 0.2, "steps": 2},
            "model": {"kind": "logreg"}, "formulation": "looped"}  # fmt: skip
    own = ["--model", "ownnets.nets:small"]
    config = tiny.write(tmp_path, **more, cleansing=None)
    assert tiny.command("influence", config, tmp_path / "influence", *own) == 0
    truth = tiny.metrics(tmp_path / "influence")
    assert set(truth["model"]) == {"custom"}
    rows = truth[(truth["metric"] == "fil") & (truth["method"] == "lwet_fisher") & (truth["round"].astype(str) == "6")]
    assert set(rows["subject"]) == {subject(client=name) for name in clients}
    assert rows["value"].abs().max() > 0 and np.isfinite(rows["value"]).all()
    size = {"csv": 2, "image_npz": 36, "leaf_json": 4, "image_folder": 36}[form]
    assert tiny.value(truth, metric="config", subject="key=parameters") == 4 * size + 4 + 5 * classes
    train = tiny.write(tmp_path, "plain", "train", **more)
    for client in (None, 1):
        out = tmp_path / f"train{client}"
        chosen = [] if client is None else ["--exclude-clients", clients[client]]
        assert tiny.command("train", train, out, *own, *chosen) == 0
        loss = tiny.value(tiny.metrics(out), metric="loss", round=6)
        expected = tiny.value(truth, method="base", metric="loss", round=6)
        if client is not None:
            expected += tiny.value(
                truth, method="exact", metric="fil", subject=subject(client=clients[client]), round=6
            )
        assert loss == pytest.approx(expected, rel=1e-9)
        assert list(out.rglob("model.safetensors"))


def test_a_final_model_is_read_back_by_torch(tmp_path):
    """The state dict fits the user's own module and gives the loss that metrics.csv tells."""
    import safetensors.torch
    import torch
    from ownnets.nets import small

    from experiments.core.study.federated import build
    from experiments.core.sweep.cell import Context

    data, partition, _, classes = csv(tmp_path)
    config = tiny.write(tmp_path, paper="train", data=data, partition={"kind": partition}, clients_per_round=3,
                        formulation="looped")  # fmt: skip
    assert tiny.command("train", config, tmp_path / "runs", "--model", "ownnets.nets:small") == 0
    (file,) = (tmp_path / "runs").rglob("model.safetensors")
    module = small((2,), classes).double()
    module.load_state_dict(safetensors.torch.load_file(file))
    f = build(tiny.loaded(config, "smoke", "model.kind=logreg"), 0, Context(tmp_path)).problem.federation
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(module(f.test_x), f.test_y)
    assert tiny.value(tiny.metrics(tmp_path / "runs"), metric="loss", round=6) == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.slow
def test_a_trained_model_of_ones_own_is_where_training_starts(tmp_path):
    """Through every command that takes --model; a scheme of the file gives way, one of the command line does not."""
    import safetensors.torch

    own, still = ["--model", "ownnets.nets:trained"], {"lr": 1e-12, "steps": 1}
    config = tiny.write(tmp_path, paper="train", local=still, init="default", formulation="looped")
    for more, kept in (([], True), (["--set", "init=glorot_uniform"], False)):
        out = tmp_path / f"kept{kept}"
        assert tiny.command("train", config, out, *own, *more) == 0
        (file,), (told,) = out.rglob("model.safetensors"), out.rglob("provenance.json")
        state = safetensors.torch.load_file(file)
        found = [state[name] for name in ("1.weight", "1.bias", "3.weight", "3.bias")]
        expected = (0.05, 0.15, 0.25, 0.35)
        assert all(np.allclose(t, value, atol=1e-6) for t, value in zip(found, expected, strict=True)) is kept
        assert json.loads(told.read_text())["facts"]["init"] == ("keep" if kept else "glorot_uniform")
    config = tiny.write(tmp_path, local=still, cleansing=None, formulation="looped")
    assert tiny.command("influence", config, tmp_path / "influence", *own) == 0
    config = fragile.write(tmp_path, train={"steps": 1}, retrain={"method": "continue", "steps": 1})
    assert fragile.command(config, tmp_path / "fragility", *own) == 0
    for paper in ("influence", "fragility"):
        (told,) = (tmp_path / paper).rglob("provenance.json")
        assert json.loads(told.read_text())["facts"]["init"] == "keep"


def test_squared_loss(tmp_path):
    """Labels become one-hot targets; the plain path agrees here too."""
    config = tiny.write(tmp_path, loss="squared", cleansing=None)
    assert tiny.command("influence", config, tmp_path / "i") == 0
    truth = tiny.metrics(tmp_path / "i")
    assert 0 < tiny.value(truth, method="base", metric="accuracy", round=6) < 100
    train = tiny.write(tmp_path, "plain", "train", loss="squared")
    assert tiny.command("train", train, tmp_path / "t", "--exclude-clients", "7") == 0
    loss = tiny.value(tiny.metrics(tmp_path / "t"), metric="loss", round=6)
    expected = tiny.value(truth, method="base", metric="loss", round=6) + tiny.value(
        truth, method="exact", metric="fil", subject="client=7", round=6
    )
    assert loss == pytest.approx(expected, rel=1e-9)
