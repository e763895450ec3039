"""Subjects of rows: columns of their words, and rows picked by them.

A subject of `key=value` words is first the point of a setting's grid, then what is measured there. Read, every key is a
column of text, "" where a row has none, and `point` is the first part whole. A key that names a column of metrics.csv
gets an underscore (`method_`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from experiments.core.names import is_number, natural
from experiments.core.subject import subject, words
from experiments.core.sweep.cell import COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def clients(subjects: pd.Series) -> pd.Series:
    """The clients' names in subjects with a word `client`: numbers where all are, else text in its natural order."""
    import pandas as pd

    names = subjects.map(lambda text: words(text)["client"])
    known = sorted(names.unique(), key=natural)
    if all(map(is_number, known)):
        return names.astype(int)
    return names.astype(pd.CategoricalDtype(known, ordered=True))


def have_names(column: pd.Series) -> bool:
    """Whether the clients in a column made by `clients` have names of their own."""
    return hasattr(column, "cat")


def parse(metrics: pd.DataFrame, grid: Sequence[str], within: Collection[str]) -> pd.DataFrame:
    """Rows of metrics.csv with a column for every key of their subjects, and `point`.

    Args:
        metrics: rows with sweep's COLUMNS.
        grid: keys of points that are always a column. within: keys that are no part of a point; always columns, too.

    Raises:
        SpecError: a subject that is not key=value words.
    """
    import pandas as pd

    keys_of = {text: _tokens(text, within) for text in metrics["subject"].unique()}
    keys = dict.fromkeys(("point", *grid, *within, *(key for one in keys_of.values() for key in one)))
    named = pd.DataFrame([{"subject": s, **dict.fromkeys(keys, ""), **one} for s, one in keys_of.items()], dtype=object)
    return metrics.merge(named, on="subject", how="left")


def _tokens(text: str, within: Collection[str]) -> dict[str, str]:
    values = {f"{key}_" if key in COLUMNS else key: value for key, value in words(text).items()}
    return values | {"point": subject(**{key: value for key, value in values.items() if key not in within})}


def axes(rows: pd.DataFrame, grid: Sequence[str]) -> list[str]:
    """The keys of the points in `rows`: those of `grid` in its order, a setting's own after them, sorted."""
    present = {word.partition("=")[0] for point in rows["point"].unique() if point for word in point.split(" ")}
    return [key for key in grid if key in present] + sorted(present - set(grid))


def pick(rows: pd.DataFrame, metric: str | Sequence[str], **wanted: str | Sequence[str]) -> pd.DataFrame:
    """Rows of `metric` whose columns `wanted` hold that value (one of them); values that are not finite left out."""
    import numpy as np

    asked = [metric] if isinstance(metric, str) else list(metric)
    picked = rows[rows["metric"].isin(asked) & np.isfinite(rows["value"].astype(float))]
    for column, value in wanted.items():
        picked = picked[picked[column].isin([value] if isinstance(value, str) else list(value))]
    return picked.reset_index(drop=True)
