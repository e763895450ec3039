"""Every table and figure of Gill et al. 2025 that a run's metrics.csv (and its cells' inputs) has the numbers for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.trace import (
    figure_axis,
    figure_inputs,
    figure_rounds,
    figure_time,
    figure_truth,
    tables,
    tables_paper,
)
from experiments.trace.reading import axes, family, parse

_PRINTED: dict[str, dict[str, Maker]] = {
    "localization": {"figure2": figure_rounds.by_round},
    "alpha": {"figure3": partial(figure_axis.over, axis="alpha")},
    "faults": {"table1": tables_paper.table1, "figure6": figure_time.seconds},
    "privacy": {"table2": tables_paper.table2, "figure4": figure_axis.noise},
    "clients": {"table3": tables_paper.table3},
    "per_round": {"per_round": tables_paper.per_round},
    "rounds": {"figure5": figure_rounds.by_round},
}
_EVERY: dict[str, Maker] = {
    "base_model": base_model,
    "averages": tables.averages,
    "methods": tables.compared,
    "configuration": tables.configuration,
    "truth": figure_truth.agreement,
}
_DRAWN = {("alpha", "alpha"), ("privacy", "dp"), ("clients", "clients"), ("per_round", "per_round")}
"""Settings and axes that have a figure of the paper's own."""


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for their inputs.

    Raises:
        MissingError: a cell's inputs cannot be read.
    """
    return catalogue(metrics, folders, partial(_makers, folders), parse, joint="-")


def _makers(folders: list[Path], rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    setting = family(name)
    printed = _PRINTED.get(setting, {})
    yield from printed.items()
    yield from _EVERY.items()
    if figure_rounds.by_round not in printed.values():
        yield "by_round", figure_rounds.by_round
    if figure_time.seconds not in printed.values():
        yield "time", figure_time.seconds
    for axis in axes(rows):
        if axis != "task" and (setting, axis) not in _DRAWN:
            yield f"over_{axis}", partial(figure_axis.over, axis=axis)
    yield "inputs", lambda rows, name: figure_inputs.traced_inputs(rows, folders, name)
