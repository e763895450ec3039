"""What is said of a cell that is not done."""

import pandas as pd

from experiments.impro.progress import PROGRESS


def row(metric, value, t=None, subject="fl=a", method="fedavg"):
    return {"method": method, "metric": metric, "subject": subject, "round": t, "value": value, "n": None, "unit": ""}


def test_the_last_evaluated_round_is_told_under_point_and_algorithm():
    rows = [
        row("config", 50.0, subject="fl=a key=rounds", method="config"),
        row("accuracy", 10.0, 2), row("weight_divergence", 1.5, 2), row("accuracy", 20.0, 4), row("loss", 2.0, 4),
        row("layer_divergence", 0.5, 4, "fl=a layer=0.weight depth=0"),
    ]  # fmt: skip
    told = PROGRESS.of(pd.DataFrame(rows))
    assert told[["method", "metric", "value", "reached", "rounds"]].values.tolist() == [
        ["fl=a fedavg", "accuracy", 20.0, 4, 50.0]
    ]
