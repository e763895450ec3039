import pytest

import fedlab_cli.commands.reproduce as reproduce
from experiments.core.errors import MissingError
from fedlab_cli.main import main
from tests.toys.paper import PAPER


@pytest.fixture
def reported(monkeypatch):
    """`train` as the only paper, and what the report was asked to do."""
    asked: list[tuple] = []
    monkeypatch.setattr(reproduce, "printed", lambda: {"train": PAPER})
    monkeypatch.setattr(reproduce, "publish", lambda *given: asked.append(given))
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    return asked


def run(folder, *more):
    return main(["reproduce", "--scale", "smoke", "--device", "cpu", "--out", str(folder), *more])


def test_every_setting_runs_then_the_report_is_written(reported, tmp_path, capsys):
    assert run(tmp_path) == 0
    stored = sorted(p.parent.name for p in (tmp_path / "train").glob("*/metrics.csv"))
    assert stored == ["digits_cnn-smoke", "femnist_cnn-standin-smoke", "synthetic_logreg-smoke"]
    assert "stand-in: runs on sklearn_digits as femnist_cnn-standin" in capsys.readouterr().err
    assert reported == [(tmp_path, "smoke", reproduce.DEST, False, ("train",))]


def test_without_stand_ins_a_setting_without_data_is_skipped(reported, tmp_path, capsys):
    assert run(tmp_path, "--no-stand-in") == 0
    stored = sorted(p.parent.name for p in (tmp_path / "train").glob("*/metrics.csv"))
    assert stored == ["digits_cnn-smoke", "synthetic_logreg-smoke"]
    assert "skipped femnist_cnn" in capsys.readouterr().err


def test_the_next_paper_and_the_report_come_after_failures_too(reported, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(reproduce, "printed", lambda: {"train": PAPER, "influence": PAPER})
    monkeypatch.setattr(reproduce, "settings", lambda name: ran.append(name) or {name: ["synthetic_logreg"]})

    def fail(*args, **named):
        raise RuntimeError("broken")

    monkeypatch.setattr("tests.toys.paper.compute", fail)
    assert run(tmp_path) == 1
    assert ran == ["train", "influence"]
    assert len(reported) == 1


def test_dry_run_reports_nothing(reported, tmp_path):
    assert run(tmp_path, "--dry-run") == 0
    assert (reported, list(tmp_path.iterdir())) == ([], [])


def test_nothing_to_report_is_missing(reported, tmp_path, monkeypatch):
    def none(*args):
        raise MissingError("no results", "runs", "run it")

    monkeypatch.setattr(reproduce, "publish", none)
    assert run(tmp_path) == 4
