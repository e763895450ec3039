"""Two processes on one cell: the second is told so at once, by an exit code of its own, and spoils nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments
from experiments.core.report import artefacts
from fedlab_cli.main import main
from tests.toys import federated as tiny

SLOW = """
import time
from experiments.core.engine.checkpoint import Checkpoint
from fedlab_cli.main import run

save = Checkpoint.save
Checkpoint.save = lambda self, content: (save(self, content), time.sleep(3))
run()
"""


@contextlib.contextmanager
def at_work(config, out):
    """Another process in the middle of the cell, killed at the end."""
    line = ["train", "--config", str(config), "--device", "cpu", "--scale", "smoke", "--jobs", "1", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(experiments.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    other = subprocess.Popen([sys.executable, "-c", SLOW, *line], env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not list(out.rglob("*.ckpt")):
            assert other.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        yield other
        assert other.poll() is None  # still at it
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_the_second_of_two_processes_is_told_that_the_cell_is_busy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    config, out = tiny.write(tmp_path, paper="train", rounds=30), tmp_path / "runs"
    line = ["train", "--device", "cpu", "--scale", "smoke", "--jobs", "1", "--out", str(out), "--config"]
    with at_work(config, out):
        assert main([*line, str(config), "--json"]) == 5
        told = capsys.readouterr()
        assert "busy: another process is computing seed0-" in told.err and "0 failed, 1 busy" in told.err
        (setting,) = json.loads(told.out)["settings"]
        assert (setting["status"], setting["busy"], setting["failed"]) == ("busy", 1, 0)
        assert not list(out.rglob("*.failed.txt"))
        changed = str(tiny.write(tmp_path, paper="train", rounds=4))
        assert main([*line, changed, "--overwrite"]) == 5
        assert "another process is computing" in capsys.readouterr().err
    tiny.write(tmp_path, paper="train", rounds=30)
    assert main([*line, str(config)]) == tiny.command("train", config, tmp_path / "quiet") == 0
    tables = [next(folder.rglob("metrics.csv")).read_bytes() for folder in (out, tmp_path / "quiet")]
    assert tables[0] == tables[1]
