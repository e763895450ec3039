"""All that a report takes from the scores of one setting's cells, computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from experiments.vog import between_methods, pairs
from experiments.vog.likeness import floor
from experiments.vog.reading import points
from experiments.vog.stored_scores import Scored, load


class Compared:
    """The cells of one setting that stored scores, and how alike these are.

    Attributes:
        rows: the setting's, as `reading.parse` makes them.
    """

    def __init__(self, folders: Sequence[Path], rows: pd.DataFrame) -> None:
        self.rows = rows
        self._folders = folders

    @cached_property
    def cells(self) -> list[Scored]:
        """The cells in the order of the grid, then of seeds.

        Raises:
            MissingError: a stored file cannot be read.
        """
        setting, seeds = str(self.rows["setting"].iloc[0]), sorted(int(seed) for seed in self.rows["seed"].unique())
        found = load(self._folders, setting, seeds)
        order = {point: place for place, point in enumerate(points(self.rows))}
        known = [one for one in found if one.point in order]  # a cell without rows is of an earlier spec
        return sorted(known, key=lambda one: (order[one.point], one.seed))

    @cached_property
    def lines(self) -> pd.DataFrame:
        """How alike the scores of every two cells are; see `pairs.measured`."""
        return pairs.measured(self.cells)

    @cached_property
    def methods(self) -> pd.DataFrame:
        """How alike the scores of every two methods of a cell are; see `between_methods.lines`."""
        return between_methods.lines(self.cells, self.rows)

    @cached_property
    def floors(self) -> pd.DataFrame:
        """What grids of random images have: data, class, metric, value; of the first cell of each data set."""
        firsts: dict[str, Scored] = {}
        for one in self.cells:
            firsts.setdefault(pairs.data_of(one.point), one)
        told = [
            {"data": data, "class": pairs.ALL if label is None else str(label), "metric": metric, "value": value}
            for data, one in firsts.items()
            for label in (None, *one.classes)
            for metric, value in floor(one, label).items()
        ]
        return pd.DataFrame(told, columns=["data", "class", "metric", "value"])

    def at(self, point: str) -> list[Scored]:
        """The cells of one point, a seed each."""
        return [one for one in self.cells if one.point == point]
