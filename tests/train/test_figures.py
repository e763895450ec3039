"""What the report of a federated run shows."""

from experiments.train.figures import report


def test_the_report_shows_the_last_round_of_every_world():
    import pandas as pd

    rows = [
        {"setting": "s", "seed": seed, "method": "base", "metric": metric, "round": t, "value": t + seed, "unit": "u"}
        for seed in (0, 1) for metric in ("loss", "accuracy") for t in (2, 4)
    ]  # fmt: skip
    final, curves = report(pd.DataFrame(rows), [])
    assert (final.name, final.table_md, curves.name) == ("final", True, "curves")
    assert set(final.frame["round"]) == {4} and len(final.frame) == 4 and len(curves.frame) == 8
    assert report(pd.DataFrame([{**rows[0], "metric": "other"}]), []) == []
