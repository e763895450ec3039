"""Which tables and figures a paper makes of a run's rows: setting by setting, each under its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.report.artefacts import Artefact
from experiments.core.report.clients import clients

if TYPE_CHECKING:
    import pandas as pd

Maker = Callable[["pd.DataFrame", str], Artefact | None]
"""(the rows of one setting, the name to publish under) -> a table or figure; None without rows for it."""

Makers = Callable[["pd.DataFrame", str], Iterable[tuple[str, Maker]]]
"""(the rows of one setting, its name) -> the name of each table or figure that it may have, and its maker."""


def catalogue(
    metrics: pd.DataFrame,
    folders: Sequence[Path],
    makers: Makers,
    parse: Callable[[pd.DataFrame], pd.DataFrame],
    joint: str = "",
) -> list[Artefact]:
    """Tables and figures of every setting in `metrics`, and its clients where they have names of their own.

    Settings are run and published one by one, so names are `<table or figure>-<setting>`.

    Args:
        metrics: rows with sweep's COLUMNS, of one scale. folders: those of the cells behind them.
        makers: what a setting may have; it is made of the rows that `parse` returns.
        joint: a setting called as a table, or as a table and this letter and more, has the table under its own name:
            with "_" `table1_mnist`, not `table1-table1_mnist`.
    """
    made: list[Artefact | None] = []
    for key, unparsed in metrics.groupby("setting", sort=True):
        setting, rows = str(key), parse(unparsed.reset_index(drop=True))
        made += [make(rows, _published(name, setting, joint)) for name, make in makers(rows, setting)]
        made.append(clients(folders, setting, f"clients-{setting}"))
    return [artefact for artefact in made if artefact is not None]


def _published(name: str, setting: str, joint: str) -> str:
    same = setting == name or (joint and setting.startswith(f"{name}{joint}"))
    return setting if same else f"{name}-{setting}"
