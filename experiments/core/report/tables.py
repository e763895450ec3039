"""What the tables of all papers share: whose rows they are, values over seeds, order of rows, empty cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["setting", "scale", "seed"]
"""The columns that tell one run's rows from another's."""

ABOUT = ["setting", "scale"]
"""The columns with which a table over seeds begins."""

UNPRINTED = "the paper prints no number for it"
"""Why a cell beside one of ours is empty."""


def about(rows: pd.DataFrame) -> dict[str, str]:
    """Setting and scale of `rows`, which are all of one."""
    return {column: str(rows[column].iloc[0]) for column in ABOUT}


def spread(rows: pd.DataFrame, by: Sequence[str], middle: str = "median") -> pd.DataFrame:
    """The `middle` ("median", "mean"), low, high and number of values (`seeds`) of column `value`, by group.

    Returns:
        A row a group: the columns `by`, one called as `middle`, low, high, seeds.
    """
    grouped = rows.groupby(list(by), sort=False)["value"]
    return grouped.agg(**{middle: middle, "low": "min", "high": "max", "seeds": "size"}).reset_index()


def over_seeds(rows: pd.DataFrame, by: Sequence[str], how: str = "mean") -> pd.DataFrame:
    """First `how` ("mean", "max", "min") over the rows of each seed, then mean, low, high and seeds as in `spread`."""
    each = rows.groupby([*by, "seed"], sort=False)["value"].agg(how).reset_index()
    return spread(each, by, "mean")


def arranged(
    frame: pd.DataFrame,
    columns: Sequence[str],
    ordered: Callable[[Iterable[str]], list[str]],
    orders: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """`frame` with its rows in the order of `columns`; columns that it lacks do not count.

    Args:
        frame: the rows. columns: the first one counts most. ordered: sorts the values of a column.
        orders: column -> all its values in the order that they have instead.
    """
    present = [column for column in columns if column in frame]
    if frame.empty or not present:
        return frame
    values = {column: orders.get(column) or ordered(frame[column].dropna().unique()) for column in present}
    ranks = {column: {value: rank for rank, value in enumerate(values[column])} for column in present}
    return frame.sort_values(
        present, key=lambda column: column.map(ranks[str(column.name)]), kind="stable", ignore_index=True
    )


def filled(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` without the columns that are empty throughout; text cells without a value are ""."""
    text = text_columns(frame)
    frame = frame.assign(**{column: frame[column].fillna("") for column in text})
    empty = [column for column in frame.columns if (frame[column].isna() | (frame[column] == "")).all()]
    return frame.drop(columns=empty).reset_index(drop=True)


def text_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of `frame` that hold anything but numbers and truth values."""
    return [column for column in frame.columns if frame[column].dtype.kind not in "fiub"]
