"""Paths that a user may name: the home folder however it is written, and those that cannot be used, in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.core.data._files import locate
from experiments.core.errors import SpecError
from experiments.core.report import artefacts
from experiments.paths import data_dir, expanded
from fedlab_cli.main import main
from tests.toys import federated as tiny

LONG = "x" * 300


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A working directory, and a home beside it; no pictures."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def train(*more, config=None, paper="train", scale="smoke", **spec):
    own = {"cleansing": None} if paper == "influence" else {}
    written = tiny.write(Path(), paper=paper, rounds=2, **own, **spec)
    known = ["--config", config or str(written), "--device", "cpu", "--scale", scale, "--quiet", "--jobs", "1"]
    return main([paper, *known, *more])


@pytest.mark.slow
def test_the_home_folder_in_every_way_to_name_a_path(house, monkeypatch, capsys):
    home = house / "home"
    assert train("--out=~/runs", paper="influence", scale="small") == 0
    assert list((home / "runs").rglob("DONE"))
    (home / "specs").mkdir()
    Path("tiny.yaml").rename(home / "specs/tiny.yaml")
    assert main(["show", "~/specs/tiny.yaml"]) == main(["validate", "~/specs/tiny.yaml", "~/specs"]) == 0
    assert train("--out=~/runs", "--dry-run", config="~/specs/tiny.yaml") == 2  # found: it belongs to influence
    assert main(["report", "--out=~/runs", "--dest=~/published"]) == 0
    assert (home / "published/README.md").is_file()
    assert main(["doctor", "--out=~/elsewhere", "--data-dir=~"]) == 0
    assert main(["data", "--data-dir=~"]) == 0
    assert f"datain{home}" in "".join(capsys.readouterr().out.split())  # a long path is folded
    (home / "mine.csv").write_text("who,a,label\n" + "".join(f"{k % 4},{k * 7 % 11},{k % 3}\n" for k in range(60)))
    assert locate("~/mine.csv", None) == locate("mine.csv", expanded("~")) == home / "mine.csv"
    monkeypatch.setenv("FEDLAB_DATA_DIR", "~/data")
    assert data_dir() == home / "data"
    assert not os.path.lexists("~")


def test_a_home_that_nobody_has_is_refused():
    assert expanded("./~nobody77/x") == Path("./~nobody77/x")
    with pytest.raises(SpecError, match="no home folder ~nobody77"):
        expanded("~nobody77/x")
    assert train("--out=~nobody77/x") == 2
    assert not os.path.lexists("~nobody77")


def unusable(house):
    """Paths that can be neither read nor written."""
    work = house / "work"
    (work / "file").write_text("x")
    (work / "loop").symlink_to("loop")
    (work / "there").symlink_to("back")
    (work / "back").symlink_to("there")
    return ["file/x", "loop", "there/x", LONG, f"{LONG}/x", "/".join(["d" * 200] * 30), "/dev/null/x", "/proc/no/x"]


def told(capsys):
    err = capsys.readouterr().err
    assert err.startswith(("error: ", "Usage: ")) and "Traceback" not in err and "unexpected" not in err
    return err


@pytest.mark.slow
def test_results_and_reports_where_nothing_can_be_written(house, capsys):
    assert train("--out", "runs", paper="influence", scale="small") == 0
    capsys.readouterr()
    for path in unusable(house):
        assert train("--out", path) == 4
        assert main(["report", "--scale", "small", "--out", "runs", "--dest", path]) == 4
        assert told(capsys).count("error: ") == 2
        assert main(["doctor", "--out", path]) in (0, 4)
        capsys.readouterr()
    assert train("--out", "file") == 4
    assert Path("file").read_text() == "x"


def test_inputs_that_cannot_be_read(house, capsys):
    for path in [*unusable(house), "file"]:
        for kind in ("csv", "image_npz", "leaf_json"):
            assert train("--out", "runs", data={"kind": kind, "path": path}) in (2, 4)
            told(capsys)
        assert main(["trace", "--run", path]) in (2, 4)
        told(capsys)
        assert train("--out", "runs", config=path) == main(["validate", path]) == 2
        assert main(["data", "--data-dir", path]) in (0, 2, 4)
        assert main(["compare", "--out", path]) == 4
        capsys.readouterr()


def test_what_only_the_system_knows_to_be_unusable_ends_in_a_line(monkeypatch, capsys):
    import fedlab_cli.commands.list_ as listing

    def broken(paper):
        raise OSError(5, "Input/output error", "/some/where")

    monkeypatch.setattr(listing, "settings", broken)
    assert main(["list"]) == 4
    assert told(capsys).splitlines()[:2] == ["error: Input/output error", "  at:  /some/where"]


def test_long_names(house, capsys):
    assert train("--out", "runs", name="n" * 110) == 0
    assert train("--out", "runs", name="n" * 240) == 2
    assert "too long" in told(capsys)
    rows = [f"{'site' * 80}{k % 4},{(k * 7 % 11) / 11},{(k * k) % 3}" for k in range(60)]
    Path("mine.csv").write_text("\n".join(["who,a,label", *rows]) + "\n")
    block = {"kind": "csv", "path": "mine.csv", "client": "who", "name": LONG}
    assert train("--out", "runs", "--record", data=block, clients_per_round=2, name="long") == 0
