"""A killed cell is reported by the number of its rows: they belong to no round."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.report import report
from tests.toys import fragility as tiny
from tests.toys.killed import kill_with_rows


def test_a_killed_cell_reports_how_many_rows_it_has(tmp_path):
    kill_with_rows("fragility", tiny.spec(), tmp_path / "runs")
    made = report(tmp_path / "runs", "smoke", tmp_path / "results")
    assert not made.skipped
    (path,) = (tmp_path / "runs").rglob("partial.csv")
    (row,) = pd.read_csv(tmp_path / "runs/smoke-report/fragility/unfinished.csv").to_dict("records")
    assert (row["metric"], row["value"]) == ("rows", len(pd.read_csv(path)))
    assert pd.isna(row["reached"]) and pd.isna(row["rounds"])
