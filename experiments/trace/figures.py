"""Every table and figure of Gill et al. 2025 that a run's metrics.csv (and its cells' inputs) has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.trace import tables, tables_paper
from experiments.trace.reading import family, parse

Maker = Callable[[pd.DataFrame, str], Artefact | None]

_OWN: dict[str, dict[str, Maker]] = {
    "faults": {"table1": tables_paper.table1},
    "privacy": {"table2": tables_paper.table2},
    "clients": {"table3": tables_paper.table3},
    "per_round": {"per_round": tables_paper.per_round},
}
_EVERY: dict[str, Maker] = {
    "averages": tables.averages,
    "methods": tables.compared,
    "configuration": tables.configuration,
}


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Their names are `<table or figure>-<setting>` (just the setting's where both are the same): settings are run and
    published one by one. What a setting has no rows for is left out.

    Args:
        metrics: the rows. folders: those of the cells behind them, for their inputs.

    Raises:
        MissingError: a cell's inputs cannot be read.
    """
    found: list[Artefact] = []
    for setting, own in metrics.groupby("setting", sort=True):
        rows = parse(own.reset_index(drop=True))
        for name, make in _makers(family(str(setting))):
            made = make(rows, str(setting) if f"{setting}-".startswith(f"{name}-") else f"{name}-{setting}")
            found += [] if made is None else [made]
    return found


def _makers(setting: str) -> Iterator[tuple[str, Maker]]:
    yield from _OWN.get(setting, {}).items()
    yield from _EVERY.items()
