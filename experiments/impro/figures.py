"""Every table and figure of Tang et al. 2024 that a run's metrics.csv has the numbers for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import catalogue

if TYPE_CHECKING:
    import pandas as pd


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them.
    """
    return catalogue(metrics, folders, lambda rows, name: [("base_model", base_model)], lambda rows: rows)
