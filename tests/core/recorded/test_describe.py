"""What `fedlab train --record` tells of itself, read back."""

import numpy as np
import pytest
import torch

from experiments.core.recorded.describe import INPUTS, describe
from experiments.core.recorded.run_file import read_run_file
from experiments.core.report import artefacts
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.train.spec import TrainSpec
from tests.toys import federated as tiny


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")


def built(folder, **more):
    spec = tiny.loaded(tiny.write(folder, paper="train", **more))
    return spec, build(spec, 0, Context(folder)).problem.federation


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_a_run_describes_itself(tmp_path, loss):
    spec, federation = built(tmp_path, model={"kind": "mlp", "hidden": [7]}, loss=loss)
    describe(spec, federation, tmp_path)
    found = read_run_file(tmp_path).spec
    assert found.model == spec.model and found.classes == 5 and found.shape == (60,)
    assert found.sizes == {str(k): n for k, n in enumerate(federation.sizes)}
    held = np.load(tmp_path / "inputs.npz", allow_pickle=False)
    assert torch.equal(torch.as_tensor(held["inputs"]), federation.test_x[:INPUTS])
    assert held["labels"].tolist() == tiny_labels(federation)[:INPUTS] and held["inputs"].dtype == np.float64


def tiny_labels(federation):
    y = federation.test_y
    return [int(row.argmax()) for row in y] if y.dim() == 2 else y.tolist()


def test_names_of_clients_are_kept(tmp_path):
    rows = [f"{['Oslo', 'Bern', 'Kiel'][k % 3]},{k % 7},{k % 5},{k % 2}" for k in range(60)]
    (tmp_path / "cases.csv").write_text("\n".join(["city,a,b,label", *rows]) + "\n")
    data = {"kind": "csv", "path": str(tmp_path / "cases.csv"), "client": "city"}
    spec, federation = built(tmp_path, data=data, model={"kind": "logreg"}, clients_per_round=2)
    describe(spec, federation, tmp_path)
    assert read_run_file(tmp_path).spec.clients == {"0": "Bern", "1": "Kiel", "2": "Oslo"}
    spec, federation = built(tmp_path)
    describe(spec, federation, tmp_path)
    assert read_run_file(tmp_path).spec.clients == {}  # numbers name themselves


def test_a_model_of_ones_own_is_told_in_a_remark_only(tmp_path):
    spec, federation = built(tmp_path)
    own = spec.model_dump() | {"model": {"kind": "custom", "factory": "nets:small"}}
    describe(TrainSpec.model_validate(own), federation, tmp_path)
    assert "--model nets:small" in (tmp_path / "run.yaml").read_text()
    found = read_run_file(tmp_path, "nets:small")
    assert found.spec.model.factory == "nets:small" and found.model_from == "--model nets:small"
    assert read_run_file(tmp_path, "resnet18").spec.model.name == "resnet18"


def test_how_images_were_scaled_is_kept(tmp_path):
    """Bytes given to `fedlab trace` become what the model saw: the recorded inputs, made again from the file."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3)).astype(np.uint8)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "pictures.npz", train_images=pixels[:30], train_labels=labels[:30], test_images=pixels[30:],
             test_labels=labels[30:])  # fmt: skip
    data = {"kind": "image_npz", "path": str(tmp_path / "pictures.npz"), "normalise": True}
    split = {"kind": "iid", "clients": 5}
    spec, federation = built(tmp_path, data=data, model={"kind": "logreg"}, partition=split, clients_per_round=2)
    describe(spec, federation, tmp_path)
    found = read_run_file(tmp_path).spec
    shares = pixels[:30].astype(np.float64) / 255
    assert found.mean == pytest.approx(shares.mean((0, 1, 2)), abs=1e-6)
    assert found.deviation == pytest.approx(shares.std((0, 1, 2)), abs=1e-6)
    again = (pixels[30:] / 255 - np.array(found.mean)) / np.array(found.deviation)
    seen = np.load(tmp_path / "inputs.npz")["inputs"]
    np.testing.assert_allclose(np.moveaxis(again, 3, 1), seen[:10], rtol=1e-4, atol=1e-4)


def test_it_is_part_of_the_cell(tmp_path):
    """Beside the rounds, hashed like the rest, and absent without --record."""
    config = tiny.write(tmp_path, paper="train")
    assert tiny.command("train", config, tmp_path / "plain") == 0
    assert not list(tmp_path.glob("plain/**/run.yaml"))
    assert tiny.command("train", config, tmp_path / "runs", "--record") == 0
    (done,) = (tmp_path / "runs").rglob("DONE")
    assert {'"run.yaml"', '"inputs.npz"', '"rounds/00001/round.json"'} <= {
        line.strip().partition(":")[0] for line in done.read_text().splitlines()
    }
