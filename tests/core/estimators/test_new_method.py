"""A new file is all that a new Hessian method takes: spec, run, tables and listings know it."""

import subprocess
import sys

import pytest
import yaml

from tests.toys import fragility as tiny

SCALED = '''"""The identity, scaled."""

from typing import ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import HessianMethod, InverseHessian, Solution, quiet


class Scaled(HessianMethod):
    """Takes H + damping I for a multiple of the identity."""

    kind: Literal["scaled"] = "scaled"
    factor: float = Field(1.0, gt=0, description="what a vector is multiplied with")

    label: ClassVar[str] = "scaled identity"

    def solver(self, objective, theta, damping, seed=0, progress=quiet):
        return ScaledIdentity(objective, theta, damping, seed, progress, self.factor)


class ScaledIdentity(InverseHessian):
    def __init__(self, objective, theta, damping, seed, progress, factor):
        super().__init__(objective, theta, damping, seed, progress)
        self.factor = factor

    def solve(self, vectors):
        x = self.factor * vectors
        return Solution(x, self.residual(x, vectors), 0)
'''

START = """
import sys
import experiments.core.estimators as methods
methods.__path__.append(sys.argv.pop(1))
from fedlab_cli.main import run
run()
"""


def fedlab(folder, *words):
    """The command line where the package has one more folder."""
    command = [sys.executable, "-c", START, str(folder), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_file_is_all_that_a_hessian_method_takes(tmp_path):
    folder, runs = tmp_path / "methods", tmp_path / "runs"
    folder.mkdir()
    (folder / "scaled.py").write_text(SCALED)
    config = tiny.write(tmp_path, methods=["exact", "gradient", {"kind": "scaled", "factor": 2.0}])
    done = fedlab(folder, "fragility", "--config", config, "--scale", "smoke", "--device", "cpu", "--out", runs)
    assert done.returncode == 0, done.stderr
    found = tiny.metrics(runs)
    plain, doubled = (tiny.values(found, method, "influence") for method in ("gradient", "scaled"))
    assert plain and doubled == pytest.approx({subject: 2 * value for subject, value in plain.items()}, rel=1e-8)
    assert ",scaled," in next(runs.rglob("methods-tiny.csv")).read_text()

    listed = fedlab(folder, "list", "--kinds")
    assert "{kind: scaled}  Takes H + damping I for a multiple of the identity." in listed.stdout
    assert "factor: number, default 1.0; what a vector is multiplied with" in listed.stdout
    wrong = fedlab(folder, "validate", write(tmp_path, {"kind": "scaled", "facto": 2.0}))
    assert wrong.returncode == 2 and "methods.0.facto: unknown key; did you mean 'factor'?" in wrong.stdout


def write(folder, method):
    path = folder / "wrong.yaml"
    path.write_text(yaml.safe_dump({**tiny.SPEC, "methods": [method]}))
    return path
