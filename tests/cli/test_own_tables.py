"""Tables of one's own through the commands: which test set, numbers to predict, samples by their line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from sklearn.datasets import load_breast_cancer

from experiments.core.report import artefacts
from fedlab_cli.main import main
from tests.toys import federated as tiny


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")


def write(path, head, rows):
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([head, *rows])
    return str(path)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Eight hospitals, the labels of one of which are shuffled."""
    folder, rng, data = tmp_path_factory.mktemp("hospitals"), np.random.default_rng(0), load_breast_cancer()
    order = rng.permutation(len(data.target))
    who, y = np.arange(len(order)) % 8, data.target[order].copy()
    y[who == 5] = rng.permutation(y[who == 5])
    rows = [[*data.data[i, :10], label, f"hospital{k}"] for i, label, k in zip(order, y, who, strict=True)]
    return write(folder / "hospitals.csv", [*(f"x{k}" for k in range(10)), "outcome", "site"], rows)


def told(capsys, folder, data, name="influence", **more):
    """Exit code 0, and what the command says on stderr."""
    own = {"data": data, "partition": {"kind": "natural"}, "model": {"kind": "logreg"}, **more}
    own |= {"cleansing": None} if name == "influence" else {}
    config = tiny.write(folder, paper=name, **own)
    capsys.readouterr()
    options = ["--config", str(config), "--out", str(folder), "--device", "cpu", "--scale", "smoke", "--jobs", "1"]
    assert main([name, *options]) == 0
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_the_bad_hospital_is_found_by_a_clean_test_set_and_warned_of_without_one(tmp_path, capsys, hospitals):
    data = {"kind": "csv", "path": hospitals, "label": "outcome", "client": "site"}
    (tmp_path / "drawn").mkdir()
    said = told(capsys, tmp_path / "drawn", data, clients_per_round=8)
    line = "truth is measured on 120 test samples: 20 % of each client's rows, drawn with split_seed 0"
    assert line in said and "each feature is shifted and scaled" in said
    assert "warning: influence, seed 0: the test samples come from the clients that train" in said
    said = told(capsys, tmp_path, {**data, "test_clients": ["hospital0", "hospital1"]}, clients_per_round=6, rounds=12)
    line = "143 test samples: all samples of clients hospital0, hospital1, which do not train"
    assert f"truth is measured on {line}" in said and "warning" not in said
    (facts,) = [json.loads(path.read_text())["facts"] for path in (tmp_path / "influence").rglob("provenance.json")]
    assert facts["test_set"] == line
    (metrics,) = (tmp_path / "influence").rglob("metrics.csv")
    frame = pd.read_csv(metrics)
    exact = frame[(frame["metric"] == "fil") & (frame["method"] == "exact") & (frame["round"] == 12)]
    worst = exact.loc[exact["value"].idxmin()]  # whose absence lowers the loss most
    assert worst["subject"] == "client=hospital5" and worst["value"] < 0


@pytest.fixture
def heights(tmp_path):
    """A linear law with noise, three sites, fractional targets."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2))
    y = x @ [1.5, -0.7] + 0.3 + 0.1 * rng.normal(size=60)
    rows = [[*np.round(x[k], 6), round(y[k], 6), f"s{k % 3}"] for k in range(60)]
    return write(tmp_path / "heights.csv", ["a", "b", "height", "site"], rows)


def test_numbers_are_predicted_in_every_world(tmp_path, capsys, heights):
    """Truth and the plain path agree; the loss is half the squared error; nothing is said of accuracy."""
    data = {"kind": "csv", "path": heights, "label": "height", "client": "site", "target": "number"}
    more = {"loss": "squared", "clients_per_round": 3}
    told(capsys, tmp_path, data, **more)
    truth = tiny.metrics(tmp_path / "influence")
    assert not truth["metric"].str.contains("fia|accuracy|label_count").any()
    assert (truth["metric"] == "pearson_fil").any()
    config = tiny.write(tmp_path, "plain", "train", data=data, partition={"kind": "natural"},
                        model={"kind": "logreg"}, **more)  # fmt: skip
    assert tiny.command("train", config, tmp_path / "all") == 0
    assert tiny.command("train", config, tmp_path / "less", "--exclude-clients", "s1") == 0
    base = tiny.value(tiny.metrics(tmp_path / "all"), metric="loss", round=6)
    change = tiny.value(truth, method="exact", metric="fil", subject="client=s1", round=6)
    assert tiny.value(tiny.metrics(tmp_path / "less"), metric="loss", round=6) == pytest.approx(base + change, rel=1e-9)
    assert not (tiny.metrics(tmp_path / "all")["metric"] == "accuracy").any()
    (file,) = (tmp_path / "all").rglob("model.safetensors")
    state = {name: part.numpy() for name, part in safetensors.torch.load_file(file).items()}
    weight, bias = (next(v for v in state.values() if v.ndim == n) for n in (2, 1))
    x, y = loaded(data)[2:]
    assert base == pytest.approx(0.5 * np.mean((x @ weight[0] + bias[0] - y) ** 2), rel=1e-6)


def loaded(data):
    """Training and test samples as float64: x, y, test_x, test_y."""
    from experiments.core.data.csv import Csv

    pool = Csv.model_validate(data).load(0, None)
    return [part.double().numpy().squeeze(-1) if part.shape[1:] == (1,) else part.double().numpy()
            for part in (pool.x, pool.y, pool.test_x, pool.test_y)]  # fmt: skip


def test_a_loss_of_classes_predicts_no_numbers(tmp_path, capsys, heights):
    data = {"kind": "csv", "path": heights, "label": "height", "client": "site", "target": "number"}
    for name in ("train", "influence", "trace"):
        config = tiny.write(tmp_path, paper=name, data=data, model={"kind": "logreg"}, clients_per_round=3)
        config.write_text(config.read_text().replace("paper: train", f"paper: {name}"))
        assert tiny.command(name, config, tmp_path / name) == 2
        assert "loss: cross_entropy is for classes" in " ".join(capsys.readouterr().err.split())


def test_samples_are_named_by_their_line_and_regression_is_exact(tmp_path, capsys, heights):
    """Retraining without a sample is least squares without its line; the table is sorted and on the screen."""
    import yaml

    data = {"kind": "csv", "path": heights, "label": "height", "target": "number", "ignore": ["site"]}
    spec = {"paper": "fragility", "data": data, "model": {"kind": "logreg"}, "loss": "squared", "dtype": "float64",
            "train": {"optimizer": "lbfgs", "steps": 100}, "retrain": {"method": "newton", "steps": 20},
            "test_points": ["max"], "candidates": [{"pick": "top", "count": 5}], "formulation": "looped"}  # fmt: skip
    (tmp_path / "lines.yaml").write_text(yaml.safe_dump(spec))
    options = ["--config", str(tmp_path / "lines.yaml"), "--out", str(tmp_path), "--scale", "smoke", "--jobs", "1"]
    assert main(["fragility", *options, "--device", "cpu", "--json"]) == 0
    (setting,) = json.loads(capsys.readouterr().out)["settings"]
    table = pd.DataFrame(setting["tables"]["samples-lines"])
    assert len(table) == 5 and (table["exact Hessian"].abs().diff().dropna() <= 0).all()
    (metrics,) = (tmp_path / "fragility").rglob("metrics.csv")
    frame = pd.read_csv(metrics)
    assert not frame["metric"].str.contains("accuracy").any()
    test = int(frame[frame["metric"] == "test_index"]["value"].iloc[0])
    x, y, test_x, test_y = loaded(data)
    source = pd.read_csv(heights)
    at = source.iloc[int(table["test line"].iloc[0]) - 2]
    assert at["height"] == pytest.approx(test_y[test], rel=1e-6)

    def loss(rows):
        w = np.linalg.lstsq(np.c_[x[rows], np.ones(len(rows))], y[rows], rcond=None)[0]
        return 0.5 * (np.append(test_x[test], 1) @ w - test_y[test]) ** 2

    everyone = np.arange(len(y))
    for line, change in table[["line", "retrained"]].itertuples(index=False):
        (gone,) = np.flatnonzero(np.abs(y - source["height"].iloc[int(line) - 2]) < 1e-6)
        assert loss(np.delete(everyone, gone)) - loss(everyone) == pytest.approx(change, rel=1e-6, abs=1e-12)
