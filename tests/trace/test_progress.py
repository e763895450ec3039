"""A killed trace is reported: how many rounds it has come, and what it has found in the last of them."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.report import report
from tests.toys import trace as tiny
from tests.toys.killed import kill_with_rows


def test_a_killed_cell_reports_the_last_round_it_has_traced(tmp_path):
    kill_with_rows("trace", tiny.spec(), tmp_path / "runs")
    made = report(tmp_path / "runs", "smoke", tmp_path / "results")
    assert not made.skipped
    frame = pd.read_csv(tmp_path / "runs/smoke-report/trace/unfinished.csv")
    assert set(frame["reached"]) == {1} and set(frame["rounds"]) == {4}
    assert {"global", "scope=correct tracefl"} <= set(frame["method"])
    assert set(frame["metric"]) == {"accuracy", "localization"} and frame["value"].between(0, 100).all()
