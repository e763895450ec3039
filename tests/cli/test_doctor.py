"""`fedlab doctor` comes to its end on a machine that is not well, and says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments.core.data import fetch
from fedlab_cli.main import main

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise {error}("no " + name)

sys.meta_path.insert(0, Blocked())
from fedlab_cli.main import main
sys.exit(main(["doctor", "--json", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("blocked", "error"),
    [
        (("torch",), "ImportError"),
        (("torch",), "OSError"),
        (("torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow"), "ImportError"),
    ],
)
def test_without_what_it_looks_for(tmp_path, blocked, error):
    environment = {**os.environ, "PYTHONPATH": str(Path(experiments.__file__).parent.parent)}
    command = [sys.executable, "-c", BLOCKED.format(blocked=blocked, error=error), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and done.stderr == ""
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert rows["cpu"]["state"] == "wrong" and "torch cannot be loaded (no torch)" in rows["cpu"]["detail"]
    assert rows["specs"]["state"] == rows["write access"]["state"] == "ok"


def test_with_damaged_data(tmp_path, capsys):
    known = fetch.catalogue()
    for name in ("mnist", "cifar10", "bert", "femnist"):
        for file in known[name].files:
            (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file.path).write_bytes(b"PAR1")
    assert main(["doctor", "--json", "--data-dir", str(tmp_path), "--out", str(tmp_path / "runs")]) == 4
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    for name in ("mnist", "cifar10", "bert", "femnist"):
        assert rows[f"data: {name}"]["state"] == "wrong" and f"--download {name}" in rows[f"data: {name}"]["detail"]


def test_every_state_of_a_data_set_has_its_word(monkeypatch, capsys, tmp_path):
    states = {state.state for folder in (None, tmp_path) for state in fetch.status(folder)}
    assert states == {"built in", "missing"}
    for state, word in (("there", "ok"), ("built in", "ok"), ("missing", "absent"), ("differs", "wrong")):
        monkeypatch.setattr(fetch, "status", lambda folder, s=state: [fetch.State("x", "", s, "")])
        main(["doctor", "--json", "--out", str(tmp_path)])
        rows = {row["what"]: row["state"] for row in json.loads(capsys.readouterr().out)}
        assert rows["data: x"] == word
