"""The merged tables hold every cell that belongs, once."""

from __future__ import annotations

import json

from experiments.core.sweep.rows import from_csv
from experiments.core.sweep.run import Options, run_cells
from tests.toys import cells as toy


def read(path, name):
    return from_csv((path / "toy/setting1-small" / name).read_text())


def test_other_seeds_of_the_same_spec_stay_in_the_table(tmp_path):
    run_cells(toy.cells(seeds=(0, 1)), toy.spec(), tmp_path)
    run_cells(toy.cells(seeds=(2,)), toy.spec() | {"seeds": [2]}, tmp_path, shared={"seeds"})
    assert sorted({row["seed"] for row in read(tmp_path, "metrics.csv")}) == ["0", "1", "2"]
    together = run_cells(toy.cells(seeds=(0, 1, 2)), toy.spec(), tmp_path / "together").metrics
    assert together.read_bytes() == (tmp_path / "toy/setting1-small/metrics.csv").read_bytes()


def test_cells_of_another_version_are_left_out(tmp_path):
    run_cells(toy.cells(seeds=(0, 1)), toy.spec(), tmp_path)
    run_cells(toy.cells(seeds=(0,), version=2), toy.spec(), tmp_path)
    assert {row["seed"] for row in read(tmp_path, "metrics.csv")} == {"0"}
    assert [row["version"] for row in read(tmp_path, "runs.csv")] == ["2"]


def test_runs_tell_cost_and_hardware_and_spec_tells_every_leaf(tmp_path):
    run_cells(toy.cells(pause=0.01), toy.spec(), tmp_path, Options(threads=2))
    (run,) = read(tmp_path, "runs.csv")
    assert 0.05 <= float(run["wall_s"]) < 5 and run["threads"] == "2" and run["hardware"].endswith("cores")
    assert json.loads(run["facts"]) == {"formulation": "toy"}
    told = {row["key"]: json.loads(row["value"]) for row in read(tmp_path, "spec.csv")}
    assert told == {"name": "toy", "seeds": [0], "local.lr": 0.1, "local.steps": 5}
