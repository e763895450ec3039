"""Every table and figure of Usynin et al. 2023 that a run's metrics.csv (and its cells' folders) has numbers for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for what these store beside their rows.
    """
    return catalogue(metrics, folders, _makers, lambda rows: rows, joint="-")


def _makers(rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    yield "base_model", base_model
