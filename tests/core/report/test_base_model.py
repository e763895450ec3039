"""The base model beside the majority class: rows, warning and table."""

import math

import pandas as pd
import pytest
import torch

from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net
from experiments.core.report.base_model import base_model
from experiments.core.study.quality import quality
from experiments.core.sweep.cell import COLUMNS, Context

NET = Net.of(torch.nn.Linear(2, 3))
DATA = Federation(
    torch.zeros(4, 2), torch.tensor([1, 1, 1, 0]), (0, 2, 4), torch.zeros(4, 2), torch.tensor([1, 1, 0, 0]),
    ("a", "b"), 3, "toy",
)  # fmt: skip
FLOOR = -(math.log(0.75) + math.log(0.25)) / 2


def made(tmp_path, *models):
    """The table of (seed, point, loss, accuracy), and what was warned of."""
    warned, rows = [], []
    for seed, point, loss, accuracy in models:
        told = quality(NET, DATA, loss, accuracy, Context(tmp_path, warn=warned.append), point)
        about = {"setting": "s", "scale": "small", "dataset": "toy", "model": "m", "seed": seed}
        rows += [{**about, **row} for row in told]
    return base_model(pd.DataFrame(rows).reindex(columns=list(COLUMNS)), "base_model"), warned


def test_a_model_that_learned_something(tmp_path):
    table, warned = made(tmp_path, (0, "", 0.5, 0.75), (1, "", 0.6, 1.0))
    (row,) = table.frame.to_dict("records")
    assert not warned and (row["seeds"], row["no better"], row["majority class"]) == (2, 0, "1")
    assert (row["loss"], row["accuracy %"], row["majority accuracy %"]) == (pytest.approx(0.55), 87.5, 50.0)
    assert row["frequency loss"] == pytest.approx(FLOOR) and table.table_md


@pytest.mark.parametrize(("loss", "accuracy"), [(0.5, 0.5), (FLOOR + 1e-6, 0.75), (0.5, 0.25), (math.nan, 0.75)])
def test_one_that_did_not_is_said_to_be_no_better(tmp_path, loss, accuracy):
    table, (line,) = made(tmp_path, (0, "", loss, accuracy))
    assert table.frame["no better"].tolist() == [1]
    assert "no better than the majority" in line and "50.0 % of class 1" in line and "\n" not in line
    assert line.startswith(f"in {'accuracy' if accuracy <= 0.5 else 'loss'} the base model")


def test_points_stand_apart_and_older_rows_have_no_table(tmp_path):
    table, _ = made(tmp_path, (0, "wd=1", 0.5, 1.0), (0, "wd=2", 9.0, 0.0), (1, "wd=2", 0.5, 1.0))
    assert table.frame[["point", "seeds", "no better"]].to_numpy().tolist() == [["wd=1", 1, 0], ["wd=2", 2, 1]]
    assert base_model(pd.DataFrame([{"method": "base", "metric": "loss", "value": 1.0}]), "base_model") is None
