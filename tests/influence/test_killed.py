"""`fedlab influence` killed with SIGKILL again and again, then let alone, ends in the bytes of a quiet run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments
from experiments.core.report import artefacts
from fedlab_cli.main import main
from tests.toys import federated as tiny

HOUSE = Path(experiments.__file__).parent.parent
COMMAND = """
import time
from experiments.core.engine.checkpoint import Checkpoint
from fedlab_cli.main import run

save = Checkpoint.save
Checkpoint.save = lambda self, content: (save(self, content), time.sleep(0.03))  # so that every phase can be met
run()
"""


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    line = ["influence", "--config", str(config), "--out", str(out), "--device", "cpu", "--scale", "smoke"]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *line, "--jobs", "1", "--quiet"], env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def stamp(out: Path, name: str) -> int:
    """When the checkpoint was last written; 0 where there is none."""
    found = list(out.rglob(f"*.work/{name}.ckpt"))
    try:
        return found[0].stat().st_mtime_ns if found else 0
    except FileNotFoundError:  # being renamed
        return 0


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, monkeypatch):
    more = {"rounds": 30, "dtype": "float32", "cleansing": {"round": 15, "fractions": [0, 0.1, 0.3]}}
    config = tiny.write(tmp_path, **more)
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    assert tiny.command("influence", config, tmp_path / "quiet") == 0
    (wanted,) = (tmp_path / "quiet").rglob("metrics.csv")
    out, chance = tmp_path / "killed", random.Random(3)
    for name, writes in (("truth", 2), ("truth", 8), ("cleansing", 2)):
        process = start(config, out)
        until, seen = time.monotonic() + 60, set()
        while len(seen) <= writes:
            assert process.poll() is None and time.monotonic() < until
            seen.add(stamp(out, name))
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert list(out.rglob("*.work")) and not list(out.rglob("metrics.csv"))
    assert tiny.command("influence", config, out) == 0
    (found,) = out.rglob("metrics.csv")
    assert found.read_bytes() == wanted.read_bytes()
    assert not list(out.rglob("*.work")) and not list(out.rglob("*.ckpt")) and not list(out.rglob(".*.tmp"))
    (log,) = out.rglob("log.txt")
    assert [f"start {i} of" in log.read_text() for i in (1, 2, 3, 4)] == [True] * 4


@pytest.mark.slow
def test_changed_data_are_not_continued_from_the_checkpoint_of_the_old(tmp_path, monkeypatch):
    """The same spec, but the user's file is another one: the numbers are those of the file as it is now."""
    from experiments.core.estimators.numerics.fed_influence import FedInfluence

    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")

    def table(shift):
        rows = [f"{k % 5},{(k * 7 % 11) / 11 + shift},{(k * 5 % 13) / 13},{(k * k) % 3}" for k in range(150)]
        (tmp_path / "mine.csv").write_text("client,a,b,label\n" + "\n".join(rows) + "\n")

    data = {"kind": "csv", "path": str(tmp_path / "mine.csv"), "client": "client"}
    config = tiny.write(tmp_path, data=data, clients_per_round=3, cleansing=None)
    observe = FedInfluence.observe

    def stop(self, record):
        if record.index == 4:
            raise KeyboardInterrupt
        observe(self, record)

    table(0.0)
    with monkeypatch.context() as patched:
        patched.setattr(FedInfluence, "observe", stop)
        assert tiny.command("influence", config, tmp_path / "runs") == 130
    assert list((tmp_path / "runs").rglob("truth.ckpt"))
    table(2.0)
    assert tiny.command("influence", config, tmp_path / "runs") == 0
    assert tiny.command("influence", config, tmp_path / "fresh") == 0
    found, wanted = (next((tmp_path / d).rglob("metrics.csv")).read_bytes() for d in ("runs", "fresh"))
    assert found == wanted


@pytest.mark.parametrize("name", ["truth", "cleansing"])
def test_an_interruption_goes_on_from_the_checkpoint(tmp_path, monkeypatch, run, name):
    """Ctrl-C in either phase; the second start computes the missing rounds only."""
    from experiments.core.engine import simulate as engine

    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    real, rounds = engine._round, []
    fatal = {"truth": 4, "cleansing": 8}[name]

    def counted(*given):
        rounds.append(given[4])
        if len(rounds) == fatal:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(engine, "_round", counted)
    assert tiny.command("influence", run[0], tmp_path / "runs") == 130
    del rounds[:]
    fatal = 99
    assert tiny.command("influence", run[0], tmp_path / "runs") == 0
    assert rounds == {"truth": [4, 5, 6, 5, 6], "cleansing": [6]}[name]
    assert tiny.metrics(tmp_path / "runs").equals(run[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truth.ckpt", "formulation.json", "clock.json", "cell.json"])
def test_a_flipped_bit_in_what_a_kill_left_changes_no_number(tmp_path, monkeypatch, run, capsys, name):
    """In the middle of the file: of a checkpoint that is a stored number, which nothing else would notice."""
    from experiments.core.engine import simulate as engine

    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    real = engine._round

    def killed(*given):
        if given[4] == 4:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_round", killed)
        assert tiny.command("influence", run[0], tmp_path / "runs") == 130
    (path,) = (tmp_path / "runs").rglob(f"*.work/{name}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["influence", "--config", str(run[0]), "--out", str(tmp_path / "runs"), "--device", "cpu", "--scale",
                 "smoke", "--jobs", "1"]) == 0  # fmt: skip
    assert f"{name} " in capsys.readouterr().err and tiny.metrics(tmp_path / "runs").equals(run[1])
