"""Every table and figure of Usynin et al. 2023 that a run's metrics.csv and its cells' folders have numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.vog import (
    between_methods,
    claims_table,
    consistency,
    figure_consistency,
    figure_grids,
    figure_scores,
    tables,
    tables_more,
    tables_rewards,
)
from experiments.vog.compared import Compared
from experiments.vog.grid_pairs import FIGURES, Wanted, usual
from experiments.vog.reading import axes, family, parse

Stored = Callable[[Compared, pd.DataFrame, str], Artefact | None]
"""Makes an artefact of the scores that cells stored, too."""


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for what these store beside their rows.
    """
    return catalogue(metrics, folders, partial(_makers, folders), parse, joint="-")


_OF_ROWS: dict[str, Maker] = {
    "base_model": base_model,
    "accuracy": tables.accuracy,
    "configuration": tables.configuration,
    "cost": tables.cost,
    "difficulty": tables_more.difficulty,
    "truth": tables_more.truth,
    "release": tables_more.release,
    "audit": tables_more.audit,
    "rewards": tables_rewards.rewards,
    "reward_ranks": tables_rewards.correlations,
}
"""What every setting has, a user's own too, of its rows."""


def _figure1(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return figure_scores.figure1(compared.cells, rows, name)


def _figure3(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return figure_consistency.figure3(compared.lines, compared.floors, rows, name)


def _consistency(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return consistency.consistency(compared.lines, compared.floors, rows, name)


def _agreement(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return between_methods.agreement(compared.methods, rows, name)


def _size(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return tables_more.size(compared.lines, rows, name) if "samples" in axes(rows) else None


def _grids(wanted: Wanted | None, compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    return figure_grids.pictures(compared, wanted or usual(compared), rows, name)


def _makers(folders: list[Path], rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    compared, printed = Compared(folders, rows), family(name)
    for word, make in _stored(printed).items():
        yield word, partial(make, compared)
    yield (name if printed == "table1" else "removal"), tables.table1
    yield from _OF_ROWS.items()


def _stored(printed: str) -> dict[str, Stored]:
    """The artefacts of stored scores: the paper's under its names where `printed` is a setting of its own."""
    own = FIGURES.get(printed, {})
    return {
        "figure1" if printed in ("table1", "xray") else "scores": _figure1,
        "figure3" if printed == "table1" else "picks": _figure3,
        "consistency": _consistency,
        "agreement": _agreement,
        "size": _size,
        "claims": claims_table.claims,
        **{word: partial(_grids, wanted) for word, wanted in own.items()},
        **({} if own else {"grids": partial(_grids, None)}),
    }
