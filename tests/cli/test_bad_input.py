"""Bad input and faults through the command line: what, where and what to do in a line each, the right exit code,
and nothing half-written. (Faults of the YAML alone: tests/core/spec; of data files alone: tests/core/data.)
"""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.core.errors import BusyError
from experiments.core.report import artefacts
from experiments.core.spec.load import load
from fedlab_cli.main import main
from tests.toys import federated as tiny

CSV = {"kind": "csv", "path": "cases.csv", "client": "who"}


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A working directory with sound data of five clients; no pictures."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    table(Path("cases.csv"))


def table(path, clients=5, rows=100):
    lines = [f"{k % clients},{(k * 7 % 11) / 11},{(k * 5 % 13) / 13},{(k * k) % 3}" for k in range(rows)]
    path.write_text("\n".join(["who,a,b,label", *lines]) + "\n")


def written(out: Path) -> set[str]:
    """Every file under `out` but locks and the copy of the spec."""
    return {p.name for p in out.rglob("*") if p.is_file() and ".locks" not in p.parts} - {"spec.yaml"}


def refused(capsys, name, config, code, said, *more, quiet=True):
    out = Path("runs")
    assert tiny.command(name, config, out, *more) == code
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert lines[0].startswith("error: ") and len(lines) <= 3 and "Traceback" not in told.err
    assert "  fix: " in told.err and "  at:  " in told.err and "unexpected" not in told.err
    assert said in told.err
    assert told.out == ""
    return written(out)


SPECS = {
    "unknown key": ({"rownds": 3}, "rownds: unknown key"),
    "wrong type": ({"rounds": "six"}, "rounds: input should be a valid integer"),
    "out of range": ({"local": {"lr": -1, "steps": 1}}, "local.lr: input should be greater than 0"),
    "not finite": ({"local": {"lr": float("nan"), "steps": 1}}, "local.lr: input should be"),
    "more clients a round than there are": ({"clients_per_round": 21}, "21 a round, but there are 20 clients"),
    "a data kind that is not": ({"data": {"kind": "leaf_sinthetic"}}, "did you mean 'leaf_synthetic'?"),
    "a model from a file": (
        {"model": {"kind": "custom", "factory": "os:getcwd"}},
        "custom is not accepted from a file",
    ),
}


@pytest.mark.parametrize("command", ["train", "influence"])
@pytest.mark.parametrize("case", SPECS)
def test_the_spec(tmp_path, capsys, command, case):
    change, said = SPECS[case]
    config = tiny.write(tmp_path, paper=command, **change)
    assert refused(capsys, command, config, 2, said) == set()
    assert not Path("runs").exists()


TEXTS = {
    "bad YAML": ("rounds: [1, 2\nx: {", "tiny.yaml:"),
    "duplicate key": ("paper: train\nrounds: 3\nrounds: 4\n", "rounds: duplicate key, first given in line 2"),
    "empty": ("", "tiny.yaml"),
    "a list": ("- 1\n- 2\n", "tiny.yaml"),
    "not text": ("\x00\x01", "tiny.yaml"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_the_file(capsys, case):
    text, said = TEXTS[case]
    Path("tiny.yaml").write_text(text)
    assert tiny.command("train", Path("tiny.yaml"), Path("runs")) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err and "Traceback" not in err and "unexpected" not in err
    assert not Path("runs").exists()


def spoil_csv(text):
    return lambda: Path("cases.csv").write_text(text)


def cut_npz():
    np.savez("mine.npz", train_images=np.zeros((9, 4, 4)), train_labels=np.arange(9) % 3,
             test_images=np.zeros((3, 4, 4)), test_labels=np.arange(3))  # fmt: skip
    Path("mine.npz").write_bytes(Path("mine.npz").read_bytes()[:-60])


def cut_leaf():
    Path("leaf").mkdir()
    whole = gzip.compress(json.dumps({"users": ["a"], "user_data": {"a": {"x": [[1.0]], "y": [0]}}}).encode())
    Path("leaf/all_data_0.json.gz").write_bytes(whole[:-9])


def bad_image():
    for name in ("a", "b"):
        Path("pets", name).mkdir(parents=True)
        Path("pets", name, "0.png").write_bytes(b"no picture")


DATA = {
    "missing file": (None, {"kind": "csv", "path": "none.csv"}, 4, "no data at none.csv"),
    "missing set": (None, {"kind": "femnist"}, 4, "--data digits"),
    "missing folder": (None, {"kind": "leaf_json", "path": "nowhere"}, 4, "no data at nowhere"),
    "empty csv": (spoil_csv(""), CSV, 2, "an empty file"),
    "NaN in csv": (spoil_csv("who,a,label\n0,1,0\n1,inf,1\n0,2,1\n1,3,0\n"), CSV, 2, "'inf' in line 3"),
    "words in csv": (spoil_csv("who,a,label\n0,1,0\n1,x,1\n"), CSV, 2, "'x' in line 3"),
    "no such column": (None, {**CSV, "label": "outcome"}, 2, "no column 'outcome'"),
    "a folder for a file": (lambda: Path("d").mkdir(), {"kind": "csv", "path": "d"}, 4, "cannot read the file"),
    "cut npz": (cut_npz, {"kind": "image_npz", "path": "mine.npz"}, 2, "not a valid npz file"),
    "cut gzip": (cut_leaf, {"kind": "leaf_json", "path": "leaf"}, 2, "damaged gzip file"),
    "no image": (bad_image, {"kind": "image_folder", "path": "pets"}, 2, "not a readable image"),
    "no natural clients": (None, {"kind": "csv", "path": "cases.csv"}, 2, "no natural clients"),
}


@pytest.mark.parametrize("command", ["train", "influence"])
@pytest.mark.parametrize("case", DATA)
def test_the_data(tmp_path, capsys, command, case):
    prepare, data, code, said = DATA[case]
    if prepare:
        prepare()
    config = tiny.write(tmp_path, paper=command, data=data, clients_per_round=2)
    assert refused(capsys, command, config, code, said) == set()
    # What was refused does not stand in the way of what is right.
    table(Path("cases.csv"))
    assert tiny.command(command, tiny.write(tmp_path, paper=command, data=CSV, clients_per_round=2), Path("runs")) == 0


LATER = {
    "more clients a round than the data have": (
        "influence", {"clients_per_round": 6}, (), 2, "6 clients a round, but the data has 5 clients"),
    "more counted than there are": ("influence", {"counted": 6}, (), 2, "6 clients to count, but the data has 5"),
    "an unknown client to track": ("influence", {"tracked_client": 5}, (), 2, "unknown client '5'"),
    "unknown client left out": (
        "train", {}, ("--exclude-clients", "5"), 2, "unknown client '5'"),
    "a position that is not there": ("train", {}, ("--exclude-clients", "#5"), 2, "unknown client '#5'"),
    "a client named twice": ("train", {}, ("--exclude-clients", "4,#4"), 2, "client '4' is named twice"),
    "everyone left out": ("train", {}, ("--exclude-clients", "0,1,2,3,4"), 2, "every client is left out"),
    "a name of nobody": ("train", {}, ("--exclude-clients", "a"), 2, "clients are 0 to 4"),
    "a name left empty": ("train", {}, ("--exclude-clients", "1,,2"), 2, "cannot read the clients '1,,2'"),
    "a quote left open": ("train", {}, ("--exclude-clients", '"1,2'), 2, "cannot read the clients"),
    "since after the end": (
        "train", {}, ("--exclude-clients", "1", "--since", "7"), 2, "round 7 is after the last round 6"),
    "unknown formulation": ("influence", {"formulation": "warp"}, (), 2, "unknown formulation 'warp'"),
    "a formulation that cannot": ("train", {"formulation": "grouped"}, (), 2, "cannot compute this model"),
    "a model for images": ("train", {"model": {"kind": "cnn1"}}, (), 2, "model"),
    "a model that is not there": ("train", {}, ("--model", "no.such:thing"), 2, "cannot import no.such"),
    "a model misspelt": ("train", {}, ("--model", "thing"), 2, "package.module:callable"),
    "a model that is none": ("influence", {}, ("--model", "builtins:len"), 2, "the callable needs the arguments"),
    "a device that is not here": ("train", {}, ("--device", "tpu"), 4, "unknown device 'tpu'"),
}  # fmt: skip


@pytest.mark.parametrize("case", LATER)
def test_what_shows_only_once_the_data_are_there(tmp_path, capsys, case):
    command, change, more, code, said = LATER[case]
    own = {"data": CSV, "clients_per_round": 2, "formulation": "looped", "cleansing": None, **change}
    if command == "train":
        del own["cleansing"]
    assert refused(capsys, command, tiny.write(tmp_path, paper=command, **own), code, said, *more) == set()
    assert not list(Path().rglob("*.work")) and not list(Path().rglob("*.failed.txt"))


def test_two_clients_are_too_few_to_correlate(tmp_path, capsys):
    table(Path("cases.csv"), clients=2)
    config = tiny.write(tmp_path, data=CSV, clients_per_round=2, cleansing=None)
    assert refused(capsys, "influence", config, 2, "2 clients") == set()


def test_no_cuda(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny.write(tmp_path)
    assert refused(capsys, "influence", config, 4, "no CUDA device", "--device", "cuda") == set()
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["train", "influence"])
def test_training_that_leaves_the_finite_numbers(tmp_path, capsys, command):
    change = {"model": {"kind": "logreg"}, "dtype": "float32", "local": {"lr": 1e38, "steps": 2}}
    config = tiny.write(tmp_path, paper=command, **change)
    assert tiny.command(command, config, Path("runs")) == 1
    err = capsys.readouterr().err
    assert "error: the model is no longer finite in round 1" in err and "lower local.lr" in err
    assert "Traceback" not in err
    left = written(Path("runs"))
    assert {name.rpartition(".")[2] for name in left} <= {"txt", "csv"} and not list(Path().rglob("DONE"))
    assert not any(len(p.read_text().splitlines()) > 1 for p in Path("runs").rglob("metrics.csv"))
    # Mended, it runs: what failed left nothing in the way.
    fine = tiny.write(tmp_path, paper=command, **{**change, "local": {"lr": 0.1, "steps": 2}})
    assert tiny.command(command, fine, Path("runs")) == 0


@pytest.mark.parametrize("command", ["train", "influence"])
def test_a_full_disk(tmp_path, capsys, monkeypatch, command):
    config = tiny.write(tmp_path, paper=command, formulation="dense")
    assert tiny.command(command, config, Path("quiet")) == 0
    capsys.readouterr()
    wanted, real = next(Path("quiet").rglob("metrics.csv")).read_bytes(), os.fsync
    for fatal in (1, 4, 9, 16):
        count = 0

        def full(handle, fatal=fatal):
            nonlocal count
            count += 1
            if count >= fatal:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(handle)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            assert tiny.command(command, config, Path("runs")) == 4
        err = capsys.readouterr().err
        assert err.startswith("error: disk full") and len(err.splitlines()) <= 3
        assert not list(Path("runs").rglob("*.tmp")) and not list(Path("runs").rglob("DONE"))
    assert tiny.command(command, config, Path("runs")) == 0
    assert next(Path("runs").rglob("metrics.csv")).read_bytes() == wanted


def test_results_cannot_be_written(tmp_path, capsys):
    Path("runs").write_text("a file where the folder should be")
    assert tiny.command("train", tiny.write(tmp_path, paper="train"), Path("runs")) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: results cannot be written") and len(err.splitlines()) == 3
    assert Path("runs").read_text() == "a file where the folder should be"


def test_two_at_once_on_one_cell(tmp_path, capsys):
    """The one that comes second says so at once; the first is undisturbed."""
    from experiments.core.sweep.store import Store
    from experiments.train.cells import cells

    config = tiny.write(tmp_path, paper="train")
    (cell,) = cells(load(config, scale="smoke").spec)
    with Store.of(Path("runs"), cell).lock(cell.id):
        assert tiny.command("train", config, Path("runs")) == BusyError.exit_code
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert not list(Path("runs").rglob("*.work")) and not list(Path("runs").rglob("*.failed.txt"))
    assert tiny.command("train", config, Path("runs")) == 0


def test_stored_results_of_another_spec(tmp_path, capsys):
    config = tiny.write(tmp_path, paper="train")
    assert tiny.command("train", config, Path("runs")) == 0
    before = next(Path("runs").rglob("metrics.csv")).read_bytes()
    capsys.readouterr()
    refused(capsys, "train", config, 2, "rounds: stored 6, now 8", "--set", "rounds=8")
    assert next(Path("runs").rglob("metrics.csv")).read_bytes() == before


def test_a_stand_in_is_named_in_the_line_that_tells_of_missing_data(tmp_path, capsys):
    """`fedlab influence --setting 3 --no-stand-in` without FEMNIST: both ways on in the error."""
    given = ["--scale", "smoke", "--out", "runs", "--quiet", "--device", "cpu", "--no-stand-in"]
    assert main(["influence", "--setting", "3", *given]) == 4
    err = capsys.readouterr().err
    assert "--data digits" in err and "fedlab data --download femnist" in err and len(err.splitlines()) == 3
    assert written(Path("runs")) == set()


def test_json_says_the_same(tmp_path, capsys):
    config = tiny.write(tmp_path, paper="train", data={"kind": "csv", "path": "none.csv"})
    assert tiny.command("train", config, Path("runs"), "--json") == 4
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: no data at none.csv")
