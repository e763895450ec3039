"""Runs that are killed, doubled, starved of disk, or fed corrupt folders end in the same bytes as a quiet run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import experiments
from experiments.core.errors import BusyError, MissingError, SpecError
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.core.sweep.run import Options, run_cells
from tests.toys import cells as toy

TOY = Path(toy.__file__)
SETTING = Path("toy/setting1-small")
HOUSE = Path(experiments.__file__).parent.parent


def command(out: Path, steps: int, pause: float, *more: int) -> list[str]:
    return [sys.executable, str(TOY), str(out), str(steps), str(pause), *map(str, more)]


def start(out: Path, steps: int, pause: float, *more: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(out, steps, pause, *more), env={**os.environ, "PYTHONPATH": str(HOUSE)})


def quiet(out: Path, steps: int) -> bytes:
    """The table of an undisturbed run."""
    return run_cells(toy.cells(steps, seeds=(0, 1)), toy.spec(steps), out).metrics.read_bytes()


def steps_done(out: Path) -> int:
    """Steps in the checkpoints of work folders, and all steps of finished cells."""
    done = 0
    for path in (*out.rglob("state.ckpt"), *out.rglob("truth.bin")):
        with contextlib.suppress(FileNotFoundError):  # a cell may just be finishing
            done += json.loads(path.read_text())["at"] if path.suffix == ".ckpt" else len(path.read_bytes())
    return done


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def tree(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if ".locks" not in f.parts}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bytes(tmp_path):
    wanted, chance, steps = quiet(tmp_path / "quiet", 30), random.Random(5), 30
    out = tmp_path / "killed"
    for _ in range(6):
        before = steps_done(out)
        process = start(out, steps, 0.02)
        wait_for(lambda b=before, p=process: steps_done(out) > b or p.poll() is not None)
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(out, steps, 0.0).wait() == 0
    assert (out / SETTING / "metrics.csv").read_bytes() == wanted
    assert tree(out) == tree(tmp_path / "quiet")
    starts = [json.loads(p.read_text())["starts"] for p in (out / SETTING).glob("*/provenance.json")]
    logs = "".join(p.read_text() for p in (out / SETTING).glob("*/log.txt"))
    assert max(starts) > 1 and any(f"from step {i}" in logs for i in range(1, steps))


@pytest.mark.slow
def test_killed_before_any_rename_or_removal_it_ends_in_the_same_bytes(tmp_path):
    steps = 2
    wanted, kept = quiet(tmp_path / "quiet", steps), tree(tmp_path / "quiet")
    for change in range(1, 100):
        out = tmp_path / f"killed{change}"
        ended = start(out, steps, 0.0, change).wait()
        run_cells(toy.cells(steps, seeds=(0, 1)), toy.spec(steps), out)
        assert (out / SETTING / "metrics.csv").read_bytes() == wanted
        assert tree(out) == kept
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert change > 20 and ended == 0


def test_a_second_process_on_the_cell_is_told_at_once_and_the_first_goes_on(tmp_path):
    process = start(tmp_path, 40, 0.1)
    wait_for(lambda: steps_done(tmp_path) > 0)
    outcome = run_cells(toy.cells(40), toy.spec(40), tmp_path)
    before = steps_done(tmp_path)
    assert process.poll() is None and before < 40  # told while the first was still at it
    assert outcome.busy == toy.cells(40) and not outcome.failed
    assert not list(tmp_path.rglob("*.failed.txt"))
    with pytest.raises(BusyError):  # nor may another spec move in meanwhile
        run_cells(toy.cells(3), toy.spec(3), tmp_path, Options(overwrite=True))
    wait_for(lambda: steps_done(tmp_path) > before)
    process.kill()
    process.wait()
    assert run_cells(toy.cells(40, seeds=(0, 1)), toy.spec(40), tmp_path).metrics.read_bytes() == quiet(
        tmp_path / "q", 40
    )


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_one_error_at_whatever_write_and_the_rerun_is_identical(tmp_path, monkeypatch, call):
    wanted, steps, real = quiet(tmp_path / "quiet", 3), 3, getattr(os, call)
    met = 0
    for fatal in range(1, 200, 3):
        out, count = tmp_path / f"{fatal}", 0

        def counted(*arguments, fatal=fatal):
            nonlocal count
            count += 1
            if count >= fatal:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, counted)
            try:
                run_cells(toy.cells(steps, seeds=(0, 1)), toy.spec(steps), out)
                break
            except MissingError as error:
                assert error.what == "disk full" and error.exit_code == 4 and "\n" not in str(error)
                met += 1
        assert not [f for f in tree(out) if f.endswith(".tmp")]
        again = run_cells(toy.cells(steps, seeds=(0, 1)), toy.spec(steps), out)
        assert again.metrics.read_bytes() == wanted
    assert met > 5


def test_a_really_full_disk(tmp_path):
    out = tmp_path / "disk"
    out.mkdir()
    script = (
        'mount -t tmpfs -o size=36k tmpfs "$0" || exit 77; "$@" > "$0.said"; echo $? >> "$0.said";'
        ' find "$0" -name "*.tmp" >> "$0.said"; mount -o remount,size=4m tmpfs "$0" && "$@" && cp -r "$0/toy" "$0.kept"'
    )
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    line = ["unshare", "-rm", "sh", "-c", script, str(out), *command(out, 4, 0.0)]
    ended = subprocess.run(line, env={**os.environ, "PYTHONPATH": str(HOUSE)}, capture_output=True, check=False)
    if not (tmp_path / "disk.said").exists():
        pytest.skip("no small file system can be mounted here")
    said = (tmp_path / "disk.said").read_text().splitlines()
    assert len(said) == 2 and said[0].startswith("MissingError: disk full") and said[1] == "4"
    assert ended.returncode == 0
    kept = tmp_path / "disk.kept" / "setting1-small" / "metrics.csv"
    assert kept.read_bytes() == quiet(tmp_path / "quiet", 4)


@pytest.mark.parametrize("name", ["rows.csv", "DONE", "cell.json", "provenance.json", "truth.bin"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_corrupt_cell_is_computed_again(tmp_path, name, harm):
    first = run_cells(toy.cells(), toy.spec(), tmp_path)
    wanted = first.metrics.read_bytes()
    path = tmp_path / SETTING / toy.cells()[0].id / name
    path.write_bytes(path.read_bytes()[:-2]) if harm == "cut" else path.unlink()
    again = run_cells(toy.cells(), toy.spec(), tmp_path)
    assert (len(again.done), len(again.skipped)) == (1, 0)
    assert again.metrics.read_bytes() == wanted
    assert len(run_cells(toy.cells(), toy.spec(), tmp_path).skipped) == 1


def test_a_failing_cell_is_noted_passed_by_and_tried_again(tmp_path):
    bad, good = toy.cells(fault="the flux is gone")[0], toy.cells(seeds=(1,))[0]
    seen = []
    outcome = run_cells(
        [bad, good], toy.spec(), tmp_path, Options(event=lambda cell, what: seen.append((cell.seed, what)))
    )
    assert [f.cell for f in outcome.failed] == [bad] and outcome.done == [good]
    assert seen == [(0, "start"), (0, "failed"), (1, "start"), (1, "done")]
    note = outcome.failed[0].note.read_text()
    assert "RuntimeError: the flux is gone" in note and "cells.py" in note and str(Path.home()) not in note
    assert str(TOY.parent) not in note
    assert b",0,,,,walk" not in outcome.metrics.read_bytes()
    again = run_cells(toy.cells(seeds=(0, 1)), toy.spec(), tmp_path)
    assert (again.done, again.skipped) == ([bad], [good])
    assert not list(tmp_path.rglob("*.failed.txt"))


def test_fail_fast_stops_at_the_first_failure(tmp_path):
    outcome = run_cells(toy.cells(seeds=(0, 1), fault="x"), toy.spec(), tmp_path, Options(fail_fast=True))
    assert len(outcome.failed) == 1


def test_missing_data_ends_the_run_and_leaves_no_work_behind(tmp_path):
    def missing(context):
        context.log("looking")
        raise MissingError("no FEMNIST")

    cell = toy.Cell("toy", "setting1", "small", 0, "walk", {}, 1, compute=missing)
    with pytest.raises(MissingError, match="FEMNIST"):
        run_cells([cell], toy.spec(), tmp_path)
    assert tree(tmp_path / SETTING) <= {"spec.yaml", ".locks"}


def test_an_interruption_leaves_the_checkpoint_and_the_table_of_what_is_done(tmp_path):
    def stop(what, done, total):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(done)

    seen: list[int] = []
    run_cells(toy.cells(seeds=(1,)), toy.spec(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_cells(toy.cells(seeds=(1, 0)), toy.spec(), tmp_path, Options(progress=stop))
    outcome = run_cells(toy.cells(seeds=(0, 1)), toy.spec(), tmp_path)
    assert len(outcome.done) == 1
    assert "from step 3" in (tmp_path / SETTING / toy.cells()[0].id / "log.txt").read_text()


def test_no_resume_computes_anew_and_gives_the_same(tmp_path):
    first = run_cells(toy.cells(), toy.spec(), tmp_path).metrics.read_bytes()
    again = run_cells(toy.cells(), toy.spec(), tmp_path, Options(resume=False))
    assert len(again.done) == 1 and again.metrics.read_bytes() == first


def test_artefacts_stay_and_checkpoints_go(tmp_path):
    run_cells(toy.cells(), toy.spec(), tmp_path)
    names = {f.name for f in (tmp_path / SETTING / toy.cells()[0].id).iterdir()}
    assert names == {"cell.json", "rows.csv", "provenance.json", "log.txt", "DONE", "truth.bin"}


def test_a_bad_row_fails_the_cell_and_stores_nothing(tmp_path):
    cell = toy.Cell("toy", "setting1", "small", 0, "m", {}, 1, compute=lambda context: [{"metric": "x", "worth": 1}])
    outcome = run_cells([cell], toy.spec(), tmp_path)
    assert isinstance(outcome.failed[0].error, ValueError) and not list(tmp_path.rglob("rows.csv"))


def test_cells_of_two_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one setting"):
        run_cells([], toy.spec(), tmp_path)


def test_another_spec_is_refused_with_both_values_and_nothing_is_touched(tmp_path):
    run_cells(toy.cells(5), toy.spec(5), tmp_path)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    with pytest.raises(SpecError) as caught:
        run_cells(toy.cells(6), toy.spec(6, extra=True), tmp_path)
    assert caught.value.faults == ("extra: stored (absent), now true", "local.steps: stored 5, now 6")
    assert "stored 5, now 6" in str(caught.value) and "--overwrite" in str(caught.value)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_overwrite_replaces_results_of_another_spec(tmp_path):
    run_cells(toy.cells(5, seeds=(0, 1)), toy.spec(5), tmp_path)
    run_cells(toy.cells(6), toy.spec(6), tmp_path, Options(overwrite=True))
    fresh = run_cells(toy.cells(6), toy.spec(6), tmp_path / "fresh")
    assert (tmp_path / SETTING / "metrics.csv").read_bytes() == fresh.metrics.read_bytes()
    assert tree(tmp_path / SETTING) == tree(tmp_path / "fresh" / SETTING)


def speak(context: Context, seed: int) -> list[Row]:
    context.tell("the same for all")
    context.tell(f"seed {seed}")
    return []


def test_what_a_cell_tells_is_shown_once_and_logged_by_every_cell(tmp_path):
    cells = [Cell("toy", "talk", "small", s, "m", {"seed": s}, 1, compute=partial(speak, seed=s)) for s in (0, 1)]
    heard: list[str] = []
    run_cells(cells, toy.spec(), tmp_path, Options(tell=heard.append, log=lambda line: None))
    assert heard == ["the same for all", "seed 0", "seed 1"]
    logs = [path.read_text() for path in tmp_path.rglob("log.txt")]
    assert len(logs) == 2 and all("the same for all" in log for log in logs)
