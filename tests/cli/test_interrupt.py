"""Ctrl-C in a real process: its line, its exit code, and where the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from fedlab_cli import console, interrupt
from fedlab_cli.main import main

ROUNDS = 4000
COMMAND = [
    sys.executable, "-c", "from fedlab_cli.main import run; run()",
    "train", "--config", "synthetic_logreg", "--scale", "smoke", "--device", "cpu",
    "--set", f"rounds={ROUNDS}", "--set", "checkpoint_seconds=0.001",
]  # fmt: skip


def interrupted_when(ready, folder):
    """stderr and exit code of the command, stopped as soon as `ready(line of stderr so far, folder)`."""
    with (folder / "err.txt").open("w") as err, (folder / "out.txt").open("w") as out:
        process = subprocess.Popen(COMMAND, cwd=folder, stdout=out, stderr=err, start_new_session=True)
        until = time.monotonic() + 60
        while not ready((folder / "err.txt").read_text(), folder) and time.monotonic() < until:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(60)
    return (folder / "err.txt").read_text(), code


def stopped_at_the_first_round(meter, what, done, total):
    if what == "rounds":
        raise KeyboardInterrupt


def test_while_torch_is_loaded(tmp_path):
    """The first line stands before torch is there; a Ctrl-C right after it falls into the loading."""
    err, code = interrupted_when(lambda err, folder: "synthetic_logreg at scale smoke" in err, tmp_path)
    assert code == 130
    assert err.splitlines()[-1] == "interrupted; repeat the command to resume from the last checkpoint"
    assert "Traceback" not in err


@pytest.mark.slow
def test_in_training_and_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    def saved(err, folder):
        return any(folder.rglob("*.ckpt"))

    err, code = interrupted_when(saved, tmp_path)
    assert code == 130
    assert err.splitlines()[-1] == "interrupted; repeat the command to resume from the last checkpoint"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.Meter, "update", stopped_at_the_first_round)
    assert main(COMMAND[3:]) == 130
    (told,) = re.findall(rf"^resuming at round (\d+) of {ROUNDS}$", capsys.readouterr().err, re.M)
    assert 2 <= int(told) <= ROUNDS


def test_a_command_that_only_looks_promises_nothing(monkeypatch, capsys):
    import fedlab_cli.commands.list_ as listing

    def stop(paper):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "settings", stop)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_library_that_turns_it_into_its_own_error_does_not_hide_it(monkeypatch, capsys):
    import fedlab_cli.commands.list_ as listing

    def broken(paper):
        try:
            interrupt._note(signal.SIGINT, None)
        except KeyboardInterrupt:
            raise ImportError("half loaded") from None

    monkeypatch.setattr(listing, "settings", broken)
    monkeypatch.setattr(interrupt, "_keys", interrupt._Keys())
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_library_that_swallows_it_stops_at_the_next_step(monkeypatch):
    monkeypatch.setattr(interrupt, "_keys", interrupt._Keys(pressed=True))
    with console.meter(1) as meter, pytest.raises(KeyboardInterrupt):
        meter.update("rounds", 1, 2)
