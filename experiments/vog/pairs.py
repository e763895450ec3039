"""Which cells of a setting are compared, and how alike their scores are: one line a pair, method, class and number.

Two cells are compared that differ in one axis of the grid, or in the seed alone: privacy, model, or whatever a
setting varies, with the same seed and with another one. Pairs of seeds are what no change of the axis explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from experiments.core.subject import words
from experiments.vog.likeness import METRICS, Side, both, comparable, correlations, grids
from experiments.vog.reading import PAPERS, names_of, ordered
from experiments.vog.stored_scores import Scored

SEED = "seed"
"""Between two seeds of one point."""

ALL = "all"
"""The class of a line over all classes."""

COLUMNS = (
    "between", "where", "first", "second", "first_point", "second_point", "seed", "other_seed", "seeds", "pick",
    "class", "method", "n",
)  # fmt: skip
"""The columns of `measured` before its metrics."""


@dataclass(frozen=True)
class Pair:
    """Two cells that differ in the axis `between`, or in the seed alone.

    Attributes:
        first, second: the cells; their values on that axis are in the order of `reading.ordered`.
        values: those two values; two seeds' point has none.
        where: the rest of the point.
    """

    first: Scored
    second: Scored
    between: str
    values: tuple[str, str]
    where: str

    @property
    def same_seed(self) -> bool:
        """Whether both begin alike and see the same batches."""
        return self.first.seed == self.second.seed


def pairs(cells: Sequence[Scored]) -> Iterator[Pair]:
    """All pairs of `cells` that differ in one axis or in the seed alone, and have scored the same samples."""
    for a, b in combinations(cells, 2):
        differing = _differing(words(a.point), words(b.point))
        if len(differing) > 1 or not comparable(a, b) or not set(a.methods) & set(b.methods):
            continue
        axis = differing[0] if differing else SEED
        first, second = _in_order(a, b, axis)
        values = tuple(words(one.point).get(axis, "") for one in (first, second))
        rest = {key: value for key, value in words(first.point).items() if key != axis}
        if axis == "task":  # the data are the same, the model is not
            rest = {"data": names_of(words(first.point))[1], **rest}
        where = " ".join(f"{key}={value}" for key, value in rest.items())
        yield Pair(first, second, axis, (values[0], values[1]), where)


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The axes in which two points differ; two, so that they are no pair, where the data of the tasks differ."""
    found = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    other_data = "task" in found and names_of(one)[1] != names_of(other)[1]
    return [*found, "data"] if other_data else found


def _in_order(a: Scored, b: Scored, axis: str) -> tuple[Scored, Scored]:
    if axis == SEED:
        return (a, b) if a.seed <= b.seed else (b, a)
    values = [words(one.point).get(axis, "") for one in (a, b)]
    return (a, b) if ordered(values)[0] == values[0] else (b, a)


def measured(cells: Sequence[Scored]) -> pd.DataFrame:
    """How alike the scores of every pair are.

    Highest scores of all classes; of each class, too, by the paper's methods, of pairs with one seed and of pairs of
    seeds. Lowest scores of all classes.

    Returns:
        COLUMNS, then a column for each of METRICS (NaN: undefined).
    """
    lines = [line for pair in pairs(cells) for line in _lines(pair)]
    return pd.DataFrame(lines, columns=[*COLUMNS, *METRICS])


def _lines(pair: Pair) -> Iterator[dict[str, Any]]:
    a, b = pair.first, pair.second
    every = pair.same_seed or pair.between == SEED
    labels: list[int | None] = [None, *(a.classes if every and len(a.classes) > 1 else [])]
    about = {
        "between": pair.between, "where": pair.where, "first": pair.values[0], "second": pair.values[1],
        "first_point": a.point, "second_point": b.point, "seed": a.seed, "other_seed": b.seed,
        "seeds": "same" if pair.same_seed else "different",
    }  # fmt: skip
    for method in [name for name in a.methods if name in b.methods]:
        sides = Side(a, method), Side(b, method)
        for label in labels if method in PAPERS else [None]:
            named = {"class": ALL if label is None else str(label), "method": method, "n": len(both(*sides, label)[0])}
            numbers = correlations(*sides, label) | grids(*sides, label)
            yield {**about, "pick": "highest", **named, **numbers}
            if label is None:
                yield {**about, "pick": "lowest", **named, **grids(*sides, label, lowest=True)}


def data_of(point: str) -> str:
    """The data of a point's task; "" where all points have the same."""
    return names_of(words(point))[1]


def of_seeds(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of pairs of seeds that differ in nothing else."""
    return lines[lines["between"] == SEED]
