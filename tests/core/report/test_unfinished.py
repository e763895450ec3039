"""What an unfinished cell says of itself, and that it stays apart from finished results."""

import pytest

from experiments.core.report.report import read, report
from experiments.core.report.unfinished import summary, unfinished
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.run import run_cells


class StoppedError(Exception):
    pass


def half_way(context):
    rows = [
        {"method": "m", "metric": "pearson_fil", "subject": "counted", "round": t, "value": t / 10, "n": 5}
        for t in (1, 2)
    ]
    context.partial([*rows, {"metric": "config", "subject": "rounds", "value": 4.0}])
    (context.folder / "a.ckpt").write_text("kept")
    raise StoppedError


def done(context):
    assert (context.folder / "a.ckpt").read_text() == "kept"
    return [{"method": "m", "metric": "pearson_fil", "subject": "counted", "round": 4, "value": 0.4, "n": 5}]


def cell(compute, seed=0):
    return Cell("influence", "mine", "small", seed, "x", {"a": 1, "seed": seed}, 1, compute=compute)


def test_an_unfinished_cell_is_reported_apart_and_forgotten_when_done(tmp_path):
    outcome = run_cells([cell(half_way)], {"a": 1}, tmp_path)
    assert isinstance(outcome.failed[0].error, StoppedError)
    frame = unfinished(tmp_path, "influence", "small")
    assert frame[["setting", "seed", "reached", "rounds", "metric", "value"]].to_numpy().tolist() == [
        ["mine", 0, 2, 4, "pearson_fil", 0.2]
    ]
    assert summary(frame.astype(str)) == ["- mine, seed 0: round 2 of 4; m pearson_fil 0.2"]
    published = report(tmp_path, "small", tmp_path / "results")
    page = (tmp_path / "results" / "README.md").read_text()
    assert "mine, seed 0: round 2 of 4" in page
    assert any(path.name == "unfinished.csv" for path in published.written)

    assert run_cells([cell(done)], {"a": 1}, tmp_path).failed == []
    assert unfinished(tmp_path, "influence", "small").empty
    assert read([tmp_path / "influence" / "mine-small"], "metrics.csv")["value"].tolist() == [0.4]
    report(tmp_path, "small", tmp_path / "results")
    assert "round 2 of 4" not in (tmp_path / "results" / "README.md").read_text()


@pytest.mark.parametrize("paper", ["influence", "nothing"])
def test_no_unfinished_cells(tmp_path, paper):
    assert unfinished(tmp_path, paper, "small").empty
