"""Every table and figure of Usynin et al. 2023 that a run's metrics.csv and its cells' folders have numbers for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.vog import between_methods, consistency
from experiments.vog.compared import Compared
from experiments.vog.reading import parse


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for what these store beside their rows.
    """
    return catalogue(metrics, folders, partial(_makers, folders), parse, joint="-")


def _makers(folders: list[Path], rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    compared = Compared(folders, rows)
    yield "base_model", base_model
    yield "consistency", lambda rows, name: consistency.consistency(compared.lines, compared.floors, rows, name)
    yield "agreement", lambda rows, name: between_methods.agreement(compared.methods, rows, name)
