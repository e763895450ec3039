"""A killed cell is reported: how many rounds it has come, and its summary scores there."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.report import report
from tests.toys import federated as tiny
from tests.toys.killed import kill_with_rows


def test_a_killed_cell_reports_the_last_round_it_has_measured(tmp_path):
    kill_with_rows("influence", tiny.loaded(tiny.write(tmp_path)), tmp_path / "runs")
    made = report(tmp_path / "runs", "smoke", tmp_path / "results")
    assert not made.skipped
    frame = pd.read_csv(tmp_path / "runs/smoke-report/influence/unfinished.csv")
    assert set(frame["reached"]) == {3} and set(frame["rounds"]) == {6}
    assert {"base", "basic", "lwet_fisher"} <= set(frame["method"])
    assert {"accuracy", "pearson_fil"} <= set(frame["metric"]) and not frame["metric"].str.startswith("config").any()
