"""Every table and figure of Tang et al. 2024 that a run's metrics.csv (and its cells' folders) has the numbers for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.impro import (
    claims_table,
    figure_divergence,
    figure_inversion,
    figure_rounds,
    figure_theory,
    tables,
    tables_cost,
    tables_more,
)
from experiments.impro.reading import family, parse

_by_round = figure_rounds.by_round
_PRINTED: dict[str, dict[str, Maker]] = {
    "table1": {
        "table1": tables.TABLE1,
        "figure2a": figure_rounds.figure2a,
        "figure2b": figure_divergence.by_algorithm,
        "figure3": figure_divergence.by_layer,
        "figure4": partial(_by_round, title="Figure 4: CIFAR-10.", data="cifar10"),
        "figure5": partial(_by_round, title="Figure 5: FMNIST.", data="fmnist"),
        "figure6": partial(_by_round, title="Figure 6: SVHN.", data="svhn"),
        "figure7": partial(_by_round, title="Figure 7: CIFAR-100.", data="cifar100"),
    },
    "table3": {"table3": tables.TABLE3},
    "table6": {"table6": tables.TABLE6},
    "table7": {"table7": tables.TABLE7, "figure8b": partial(_by_round, title="Figure 8b: noise on the statistics.")},
    "table8": {"table8": tables.TABLE8, "figure10": partial(_by_round, title="Figure 10: FEMNIST.")},
    "table9": {"table9": tables.TABLE9},
    "table10": {"table10": tables.TABLE10},
    "table11": {"table11": tables.TABLE11},
    "long": {"long": tables.LONG, "figure8a": partial(_by_round, title="Figure 8a: long runs of FedAvg.")},
    "centralized": {"centralized": tables.CENTRALIZED},
    "presets": {"presets": tables_cost.presets},
}
"""Setting -> the tables and figures that the paper has of it."""

_EVERY: dict[str, Maker] = {
    "base_model": base_model,
    "table2": tables_more.table2,
    "table5": tables_more.table5,
    "configuration": tables_more.configuration,
    "overhead": tables_cost.overhead,
    "sampled_weight": figure_rounds.sampled_weight,
    "claims": claims_table.claims,
    "variance": figure_theory.variance_left,
    "contribution": figure_theory.contribution,
    "inversion_scores": figure_inversion.scores,
}
"""What every setting has, a user's own too."""

_WITHOUT_PRINTED: dict[str, Maker] = {
    "accuracy": tables.ACCURACY,
    "convergence": partial(_by_round, title="Convergence."),
    "divergence": figure_divergence.by_algorithm,
    "layers": figure_divergence.by_layer,
}
"""What a setting has under these names where the paper has none for it."""

_DRIFT = {"divergence", "layers"}  # the paper shows it of Table 1's runs alone
_COVERED = {
    "table1": {*_WITHOUT_PRINTED},
    **{
        key: {"accuracy", *_DRIFT}
        for key in ("table3", "table6", "table9", "table10", "table11", "centralized", "presets")
    },
    **{key: {"accuracy", "convergence", *_DRIFT} for key in ("table7", "table8", "long")},
}
"""Setting -> what the paper's own tables and figures of it show already, or would not be looked for in it."""


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for their images.
    """
    return catalogue(metrics, folders, partial(_makers, folders), parse, joint="-")


def _makers(folders: list[Path], rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    printed = _PRINTED.get(family(name), {})
    # A part of one of the paper's tables (table11_m100) is published under its own name.
    yield from ((name if word == family(name) else word, maker) for word, maker in printed.items())
    yield from _EVERY.items()
    yield "inverted", lambda rows, name: figure_inversion.pictures(rows, folders, name)
    covered = _COVERED.get(family(name), set())
    yield from ((word, maker) for word, maker in _WITHOUT_PRINTED.items() if word not in covered)
