"""Damaged tables and cells are left out of a report with a line; the others are reported as ever."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from experiments.core.errors import MissingError
from experiments.core.report import report as module
from experiments.core.report.stored import cells_of, settings_of
from experiments.core.report.unfinished import COLUMNS, unfinished
from experiments.core.sweep import files
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.run import run_cells

TOY = SimpleNamespace(
    name="toy", title="Toy", citation="", version=1, progress="", resolve=lambda what: lambda rows, cells: []
)


@pytest.fixture
def runs(tmp_path):
    """The runs folder of two settings of one finished cell each."""
    for name in ("a", "b"):
        cell = Cell("toy", name, "small", 0, "m", {}, 1, compute=lambda context: [{"metric": "x", "value": 1.0}])
        run_cells([cell], {"name": name}, tmp_path)
    return tmp_path


HARMS = [b"", b"\xff\xfe\x00", b"paper,setting\n1,2\n", b"\0" * 90, b'"', b"a" * 300_000]


@pytest.mark.parametrize("name", ["metrics.csv", "runs.csv", "spec.csv"])
def test_a_setting_with_a_damaged_table(runs, name):
    path = runs / "toy/a-small" / name
    whole = path.read_bytes()
    words = whole.replace(b",1,", b",one,").replace(b",0,", b",zero,")
    for harm in (*HARMS, *([words] if name != "spec.csv" else [])):
        said = []
        path.write_bytes(harm)
        assert [f.name for f in settings_of(runs, TOY, "small", said.append)] == ["b-small"]
        assert len(said) == 1 and f"a-small/{name}" in said[0] and "\n" not in said[0]
    path.unlink()
    assert [f.name for f in settings_of(runs, TOY, "small")] == ["b-small"]
    path.write_bytes(whole)
    assert [f.name for f in settings_of(runs, TOY, "small")] == ["a-small", "b-small"]


def test_a_setting_of_another_version_is_left_out(runs):
    other = Cell("toy", "b", "small", 0, "m", {}, 2, compute=lambda context: [{"metric": "x", "value": 1.0}])
    run_cells([other], {"name": "b"}, runs)
    said = []
    assert [f.name for f in settings_of(runs, TOY, "small", said.append)] == ["a-small"]
    assert said == ["b-small is of another version of toy: left out; repeat the setting's command"]


def test_a_damaged_cell(runs):
    both = settings_of(runs, TOY, "small")
    assert len(cells_of(both)) == 2
    (cell,) = (runs / "toy/a-small").glob("seed0*")
    (cell / "provenance.json").write_text("[]")
    (cell / "DONE").write_text(json.dumps({n: files.sha256(cell / n) for n in json.loads((cell / "DONE").read_text())}))
    said = []
    assert [f.parent.name for f in cells_of(both, said.append)] == ["b-small"]
    assert len(said) == 1 and "provenance.json does not hold what it should" in said[0]


def test_a_damaged_unfinished_cell(tmp_path):
    work = tmp_path / "toy/a-small/seed0.work"
    work.mkdir(parents=True)
    for harm in (*HARMS, b"metric,subject,round,value\nx,test,many,1\n", b"metric,subject,round,value\n"):
        said = []
        (work / "partial.csv").write_bytes(harm)
        assert list(unfinished(tmp_path, TOY, "small", said.append).columns) == list(COLUMNS)
        assert len(said) == 1 and "partial.csv" in said[0]


def test_the_report_of_a_paper_goes_past_a_damaged_setting(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "printed", lambda: {"toy": TOY})
    (runs / "toy/a-small/metrics.csv").write_bytes(b"\xff")
    told = module.report(runs, "small", tmp_path / "dest")
    assert any("a-small/metrics.csv" in line for line in told.skipped) and len(told.skipped) == 1
    published = tmp_path / "dest/small/toy"
    assert ",b," in (published / "runs.csv").read_text()
    (published / "runs.csv").write_bytes(b"\xff\xfe")  # damaged itself, it is made anew
    assert module.report(runs, "small", tmp_path / "dest").written
    assert ",b," in (published / "runs.csv").read_text()
    (tmp_path / "dest/paper/toy").mkdir(parents=True)
    (tmp_path / "dest/paper/toy/comparison.csv").write_bytes(b"")
    with pytest.raises(MissingError, match=r"paper/toy/comparison\.csv"):
        module.report(runs, "small", tmp_path / "dest")
