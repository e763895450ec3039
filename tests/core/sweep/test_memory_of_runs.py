"""Runs that cannot fit do not start, and those that run out of memory say so: exit 4, one line."""

import dataclasses
import functools
import json

import pytest
import torch

from experiments.core.engine import device
from experiments.core.errors import MissingError
from experiments.core.memory import Peak
from experiments.core.study import formulation
from experiments.core.study.price import memory, size_of
from experiments.core.sweep import plan, run
from experiments.core.sweep.rows import from_csv
from experiments.core.sweep.run import Options, run_cells
from tests.toys import cells as toy
from tests.toys import federated as tiny
from tests.toys import fragility as fragile


def limited(monkeypatch, most):
    """A machine with `most` bytes available, wherever it is asked."""
    monkeypatch.setattr(plan, "available_bytes", lambda: most)
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: most)
    monkeypatch.setattr(device, "available_bytes", lambda: most)


def test_a_cell_that_does_not_fit_is_not_started(tmp_path, monkeypatch):
    limited(monkeypatch, 1000)
    small, large = (dataclasses.replace(c, memory=m) for c, m in zip(toy.cells(seeds=(0, 1)), (999, 1001), strict=True))
    with pytest.raises(MissingError, match="are available") as caught:
        run_cells([small, large], toy.spec(), tmp_path)
    assert caught.value.exit_code == 4 and large.id in caught.value.where
    assert [p.parent.name for p in tmp_path.rglob("DONE")] == [small.id]
    assert not list(tmp_path.rglob(f"*{large.id}*/cell.json"))
    limited(monkeypatch, 2000)
    assert run_cells([small, large], toy.spec(), tmp_path).done == [large]


@pytest.mark.parametrize("lack", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_cell_that_runs_out_of_memory_ends_with_that(tmp_path, lack):
    def compute(context):
        raise lack

    cell = dataclasses.replace(toy.cells()[0], compute=compute)
    with pytest.raises(MissingError, match="the memory does not suffice") as caught:
        run_cells([cell], toy.spec(), tmp_path, Options())
    assert caught.value.exit_code == 4 and "lower" in caught.value.todo


def test_out_of_memory_outside_a_cell_is_one_line_too(tmp_path, monkeypatch, capsys):
    def cells(*given):
        return torch.empty(1 << 60)

    monkeypatch.setattr("experiments.train.cells.cells", cells)
    assert tiny.command("train", tiny.write(tmp_path, paper="train"), tmp_path / "out") == 4
    assert "the memory does not suffice" in capsys.readouterr().err


def test_the_plan_says_what_does_not_fit(tmp_path, monkeypatch, capsys):
    limited(monkeypatch, 10 << 20)
    config = tiny.write(tmp_path, paper="train")
    assert tiny.command("train", config, tmp_path / "out", "--dry-run") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "does not fit into memory" in told and "lower the number" in told
    assert tiny.command("train", config, tmp_path / "out", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["free_memory"] == 10 << 20 < told["memory"]
    assert tiny.command("train", config, tmp_path / "out") == 4
    assert not list((tmp_path / "out").rglob("DONE"))


def test_the_estimate_grows_with_what_is_held(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path, paper="train"))
    size, double = size_of(spec), size_of(tiny.loaded(tiny.write(tmp_path, "b", "train", dtype="float32")))
    more = memory(spec, size, 11) - memory(spec, size, 1)
    assert more == 10 * 4 * 8 * 305  # states, their mean, their gradient, a copy
    assert memory(spec, size, 1) > memory(tiny.loaded(tmp_path / "b.yaml"), double, 1)
    large = dataclasses.replace(size, clients=10 * size.clients)
    assert memory(spec, large, 1) - memory(spec, size, 1) > 8 * size.inputs * 9 * size.clients * size.samples


def test_what_is_known_only_after_loading_is_refused_before_training(tmp_path, monkeypatch, capsys):
    """A model and data of one's own tell no size in the plan."""
    rows = "\n".join(f"{k % 3},{k % 7},{k % 5},{'yes' if k % 2 else 'no'}" for k in range(60))
    (tmp_path / "a.csv").write_text(f"site,a,b,y\n{rows}\n")
    (tmp_path / "wide_of_memory.py").write_text(
        "from torch import nn\ndef net(shape, classes):\n"
        " return nn.Sequential(nn.Linear(shape[0], 4000), nn.Tanh(), nn.Linear(4000, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = {"kind": "csv", "path": "a.csv", "label": "y", "client": "site"}
    config = tiny.write(tmp_path, data=data, clients_per_round=2, cleansing=None, formulation="looped")
    limited(monkeypatch, 1 << 20)
    monkeypatch.setattr(formulation, "choose", lambda *given: pytest.fail("training had begun"))
    more = ("--model", "wide_of_memory:net")
    assert tiny.command("influence", config, tmp_path / "out", *more) == 4
    assert "needs about" in capsys.readouterr().err


def test_an_exact_hessian_that_is_too_large_is_refused_before_training(tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr("experiments.fragility.cells.train", lambda *given: trained.append(1))
    hidden = {"kind": "mlp", "hidden": [200, 200], "activation": "tanh"}
    config = fragile.write(tmp_path, model=hidden)
    limited(monkeypatch, 8 << 30)
    assert fragile.command(config, tmp_path / "a") == 4
    assert "GiB are available" in capsys.readouterr().err
    monkeypatch.setattr(run, "require", lambda *given: None)  # as where the plan knows no size
    assert fragile.command(config, tmp_path / "b") == 4 and not trained
    assert "leave `exact` out of methods" in capsys.readouterr().err


def test_the_peak_of_memory_is_the_cells_own(tmp_path):
    """A large cell, then a small one in the same process: the second does not have the peak of the first."""
    large = 256 << 20

    def held(size, context):
        assert bytearray(b"x") * size
        return []

    sizes = {0: large, 1: 1 << 20}
    ran = [dataclasses.replace(c, compute=functools.partial(held, sizes[c.seed])) for c in toy.cells(seeds=(0, 1))]
    runs = run_cells(ran, toy.spec(), tmp_path).metrics.parent / "runs.csv"
    peaks = [row["peak_memory"] for row in from_csv(runs.read_text())]
    if Peak().resident() is None:
        assert peaks == ["", ""]
    else:
        first, second = map(int, peaks)
        assert first > large and second < first - large // 2
