"""Every table and figure of Xue et al. 2021 that a run's metrics.csv has the numbers for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.influence import figure_algorithms, figure_change, figure_clients, figure_influence, ranking, tables
from experiments.influence.reading import family


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    `folders`: the cells', for their clients.
    """
    return catalogue(metrics, folders, _makers, lambda rows: rows)


def _makers(rows: pd.DataFrame, setting: str) -> Iterator[tuple[str, Maker]]:
    yield "base_model", base_model
    if figure_algorithms.are_compared(rows):
        yield "algorithms", figure_algorithms.between
        return
    yield "table1", tables.table1
    yield "table2", tables.table2
    yield "correlations", tables.correlations
    yield "cleansing", tables.cleansed
    if family(setting) in ("", "setting2"):
        yield "figure1", figure_change.by_tensor
    # The same plot is Figure 2 for setting 2, and Figure 6 of the supplement for the others.
    yield "figure6" if family(setting) in ("setting1", "setting3") else "figure2", figure_change.error
    yield "figure3-rounds", figure_influence.over_rounds
    yield "figure3-clients", figure_influence.at_end
    yield "figure4", figure_clients.cleansing_curves
    yield "figure5", figure_clients.holdings
    yield "figure7", figure_clients.rank_paths
    yield "ranking", ranking.ranking
