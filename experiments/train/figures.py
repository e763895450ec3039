"""What `fedlab report` shows of a federated run: curves of test loss and accuracy, the final numbers, the clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.clients import clients

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Curves of test loss and accuracy over rounds, one line a seed and world; and the final numbers.

    And the clients of `folders`, the cells', that have names of their own.
    """
    curves = metrics[metrics["metric"].isin(["loss", "accuracy"])]
    if curves.empty:
        return []
    beside = [base_model(metrics, "base_model"), clients(folders, str(metrics["setting"].iloc[0]), "clients")]
    last = metrics[(metrics["round"] == curves["round"].max()) | (metrics["method"] == "privacy")]
    final = last[["setting", "seed", "method", "metric", "round", "value", "unit"]].reset_index(drop=True)
    columns = ["setting", "seed", "method", "metric", "round", "value", "unit"]
    return [
        *(artefact for artefact in beside if artefact is not None),
        Artefact("final", final, None, "Test loss and accuracy after the last round.", table_md=True),
        Artefact(
            "curves",
            curves[columns].reset_index(drop=True),
            partial(_curves, curves),
            "Test loss and accuracy over rounds.",
        ),
    ]


def _curves(frame: pd.DataFrame) -> Figure:
    import matplotlib.pyplot as plt

    labels = {"loss": "test loss [nats]", "accuracy": "test accuracy [%]"}
    metrics = [metric for metric in labels if (frame["metric"] == metric).any()]
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.5 * len(metrics), 2.8), layout="constrained", squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for (method, seed), line in frame[frame["metric"] == metric].groupby(["method", "seed"]):
            ordered = line.sort_values("round")
            axis.plot(ordered["round"], ordered["value"], label=f"{method}, seed {seed}")
        axis.set(xlabel="round", ylabel=labels[metric])
    axes[0][0].legend()
    figure.suptitle(f"{frame['setting'].iloc[0]}: {frame['model'].iloc[0]} on {frame['dataset'].iloc[0]}")
    return figure
