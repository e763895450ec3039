"""What an unfinished cell says of itself, and that it stays apart from finished results."""

import pytest

from experiments.core.paper import printed
from experiments.core.report.report import read, report
from experiments.core.report.unfinished import progress_of, summary, unfinished
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.run import run_cells

PAPERS = printed()


class StoppedError(Exception):
    pass


def half_way(context):
    rows = [
        {"method": "m", "metric": "pearson_fil", "subject": "clients=counted", "round": t, "value": t / 10, "n": 5}
        for t in (1, 2)
    ]
    context.partial([*rows, {"metric": "config", "subject": "key=rounds", "value": 4.0}])
    (context.folder / "a.ckpt").write_text("kept")
    raise StoppedError


def of(rows):
    def compute(context):
        context.partial(rows)
        raise StoppedError

    return compute


def done(context):
    assert (context.folder / "a.ckpt").read_text() == "kept"
    return [{"method": "m", "metric": "pearson_fil", "subject": "clients=counted", "round": 4, "value": 0.4, "n": 5}]


def cell(compute, seed=0):
    return Cell("influence", "mine", "small", seed, "x", {"a": 1, "seed": seed}, 1, compute=compute)


def test_an_unfinished_cell_is_reported_apart_and_forgotten_when_done(tmp_path):
    outcome = run_cells([cell(half_way)], {"a": 1}, tmp_path)
    assert isinstance(outcome.failed[0].error, StoppedError)
    frame = unfinished(tmp_path, PAPERS["influence"], "small")
    assert frame[["setting", "seed", "reached", "rounds", "metric", "value"]].to_numpy().tolist() == [
        ["mine", 0, 2, 4, "pearson_fil", 0.2]
    ]
    lines = summary(frame.astype(str), progress_of(PAPERS["influence"]))
    assert lines == ["- mine, seed 0: round 2 of 4; m pearson_fil 0.2"]
    published = report(tmp_path, "small", tmp_path / "results")
    page = (tmp_path / "results" / "README.md").read_text()
    assert "mine, seed 0: round 2 of 4" in page
    assert any(path.name == "unfinished.csv" for path in published.written)

    assert run_cells([cell(done)], {"a": 1}, tmp_path).failed == []
    assert unfinished(tmp_path, PAPERS["influence"], "small").empty
    assert read([tmp_path / "influence" / "mine-small"], "metrics.csv")["value"].tolist() == [0.4]
    report(tmp_path, "small", tmp_path / "results")
    assert "round 2 of 4" not in (tmp_path / "results" / "README.md").read_text()


@pytest.mark.parametrize("paper", PAPERS)
def test_no_unfinished_cells(tmp_path, paper):
    assert unfinished(tmp_path, PAPERS[paper], "small").empty


def test_a_paper_whose_rows_belong_to_no_round_counts_them_and_spoils_no_other_report(tmp_path):
    rows = [{"method": "train", "metric": m, "subject": "depth=1", "value": 0.5} for m in ("test_loss", "steps")]
    for seed, point in enumerate(("depth=1", "depth=3")):
        killed = Cell("fragility", "mine", "small", seed, point, {"a": 1, "seed": seed}, 1, compute=of(rows))
        run_cells([killed], {"a": 1}, tmp_path)
    run_cells([cell(half_way)], {"a": 1}, tmp_path)
    frame = unfinished(tmp_path, PAPERS["fragility"], "small")
    assert frame[["seed", "method", "metric", "value"]].to_numpy().tolist() == [
        [0, "depth=1", "rows", 2.0],
        [1, "depth=3", "rows", 2.0],
    ]
    assert frame["reached"].isna().all() and frame["rounds"].isna().all()
    report(tmp_path, "small", tmp_path / "results")
    page = (tmp_path / "results" / "README.md").read_text()
    assert "- mine, seed 1: depth=3 rows 2\n" in page
    assert "- mine, seed 0: round 2 of 4; m pearson_fil 0.2\n" in page


def test_an_unfinished_trace_cell_tells_its_last_round(tmp_path):
    subject = "alpha=0.3 scope=correct"
    config = {"method": "config", "metric": "config", "subject": "alpha=0.3 key=rounds", "value": 9.0}
    rounds = [
        {"method": "tracefl", "metric": "localization", "subject": subject, "value": 50.0 + t, "round": t}
        for t in (3, 6)
    ]
    killed = Cell("trace", "mine", "small", 0, "alpha=0.3", {"a": 1}, 1, compute=of([config, *rounds]))
    run_cells([killed], {"a": 1}, tmp_path)
    report(tmp_path, "small", tmp_path / "results")
    page = (tmp_path / "results" / "README.md").read_text()
    assert "- mine, seed 0: round 6 of 9; alpha=0.3 scope=correct tracefl localization 56\n" in page


def test_rows_before_the_first_round_are_counted(tmp_path):
    rows = [{"method": "config", "metric": "config", "subject": "key=rounds", "value": 9.0}]
    run_cells([Cell("trace", "mine", "small", 0, "a", {"a": 1}, 1, compute=of(rows))], {"a": 1}, tmp_path)
    frame = unfinished(tmp_path, PAPERS["trace"], "small")
    assert frame[["metric", "value"]].to_numpy().tolist() == [["rows", 1.0]]
    assert summary(frame.astype(object).fillna(""), progress_of(PAPERS["trace"])) == ["- mine, seed 0: a rows 1"]


def test_a_round_is_told_where_their_number_is_not_known(tmp_path):
    row = {"method": "tracefl", "metric": "localization", "subject": "scope=correct", "value": 50.0, "round": 3}
    run_cells([Cell("trace", "mine", "small", 0, "a", {"a": 1}, 1, compute=of([row]))], {"a": 1}, tmp_path)
    frame = unfinished(tmp_path, PAPERS["trace"], "small").astype(object).fillna("")
    lines = summary(frame, progress_of(PAPERS["trace"]))
    assert lines == ["- mine, seed 0: round 3; scope=correct tracefl localization 50"]
