"""Every table and figure of Xue et al. 2021 that a run's metrics.csv has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.clients import clients
from experiments.influence import figure_change, figure_clients, figure_influence, ranking, tables
from experiments.influence.reading import family

Maker = Callable[[pd.DataFrame, str], Artefact | None]


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Their names are `<table or figure>-<setting>`, and just `table1` for the setting of that name: settings are run and
    published one by one. What a setting has no rows for is left out. `folders`: the cells', for their clients.
    """
    found: list[Artefact] = []
    for setting, own in metrics.groupby("setting", sort=True):
        for name, make in _makers(str(setting)):
            made = make(own, name if name == setting else f"{name}-{setting}")
            if made is not None:
                found.append(made)
        named = clients(folders, str(setting), f"clients-{setting}")
        found += [] if named is None else [named]
    return found


def _makers(setting: str) -> Iterator[tuple[str, Maker]]:
    yield "base_model", base_model
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
