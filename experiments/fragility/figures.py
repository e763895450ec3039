"""Every table and figure of Basu et al. 2021 that a run's metrics.csv (and its cells' images) has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.base_model import base_model
from experiments.core.report.catalogue import Maker, catalogue
from experiments.fragility import (
    figure_axis,
    figure_decay,
    figure_decline,
    figure_scatter,
    figure_scratch,
    figure_tests,
    tables,
    tables_paper,
    tables_samples,
)
from experiments.fragility.figure_images import Gallery
from experiments.fragility.reading import family, parse

_PRINTED: dict[str, dict[str, Maker]] = {
    "iris_decay": {
        "decay": tables_paper.decay,
        "figure1ab": partial(figure_decay.norms, activation="relu"),
        "figure7": partial(figure_decay.norms, activation="tanh"),
    },
    "iris_depth": {
        "figure1c": figure_axis.depth,
        "figure2": partial(figure_axis.stack, activation="tanh"),
        "figure6": partial(figure_axis.stack, activation="relu"),
    },
    "iris_width": {"figure1d": figure_axis.width, "figure20": partial(figure_axis.width, activation="relu")},
    "iris_deep_decay": {"figure8": figure_axis.deep_decay},
    "iris_scratch": {"figure5": figure_scratch.both, "figure19": figure_scratch.distances},
    "iris_decline": {"decline": figure_decline.table},
    "small_mnist": {"figure3ab": figure_tests.by_decay, "figure16": figure_tests.by_set},
    "small_mnist_decay": {"figure3c": figure_axis.decay},
    "table1_mnist": {
        "table1": tables_paper.table1, "table2": tables_paper.table2, "figure15": figure_tests.by_architecture,
    },
    "optimizers": {"optimizers": tables_paper.optimizers, "figure15": figure_tests.by_optimizer},
    "cifar100": {"figure4": figure_tests.by_test},
    "imagenet": {"imagenet": tables_paper.imagenet},
}  # fmt: skip
_PRINTED["table1_cifar10"] = _PRINTED["table1_mnist"]

_EVERY: dict[str, Maker] = {
    "base_model": base_model,
    "samples": tables_samples.samples,
    "correlations": tables.correlations,
    "convergence": tables.convergence,
    "methods": tables.methods,
    "several": tables_paper.several,
    "figure18": figure_axis.groups,
    "lissa": figure_scatter.lissa,
}


def report(metrics: pd.DataFrame, folders: list[Path]) -> list[Artefact]:
    """Tables and figures of every setting in `metrics` (rows with sweep's COLUMNS, of one scale).

    Args:
        metrics: the rows. folders: those of the cells behind them, for their images.

    Raises:
        MissingError: a cell's images cannot be read.
    """
    return catalogue(metrics, folders, partial(_makers, folders), parse, joint="_")


def _makers(folders: list[Path], rows: pd.DataFrame, name: str) -> Iterator[tuple[str, Maker]]:
    setting = family(name)
    yield from _PRINTED.get(setting, {}).items()
    yield from _EVERY.items()
    yield ("figure11" if setting == "imagenet" else "scatter"), figure_scatter.scatter
    images = _images(setting, Gallery(rows, folders))
    yield from ((name, lambda _, to, make=make: make(to)) for name, make in images.items())


def _images(setting: str, gallery: Gallery) -> dict[str, Callable[[str], Artefact | None]]:
    """The figures of images: the paper's for its settings, and all test points for the others."""
    if setting == "imagenet":
        squares = {f"figure{13 + position}": partial(gallery.square, position=position) for position in (0, 1)}
        return {"figure12": gallery.tests, **squares}
    if setting == "cifar100":
        return {"figure17": partial(gallery.rows, tests=("i7106", "i2407")), "images": gallery.rows}
    if setting == "table1_cifar10":
        named = {"figure9": ("i1479",), "figure10": ("i7196",)}
        paper = {f: partial(gallery.rows, tests=t, architecture="resnet18") for f, t in named.items()}
        return {**paper, "images": gallery.rows}
    return {"images": gallery.rows}
