"""How far an unfinished cell has come: a paper says it of its own rows; otherwise they are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Progress:
    """What a paper reports of a cell that is not done, from the rows that the cell has stored so far.

    Attributes:
        of: (all rows of the cell so far) -> those to report, in the same columns, and `reached` and `rounds` (NaN where
            progress is not counted in rounds); none where the cell has not come to such rows yet.
        brief: the metrics among them that results/README.md shows, in a line for each cell.
    """

    of: Callable[[pd.DataFrame], pd.DataFrame]
    brief: tuple[str, ...]


def of_rounds(rows: pd.DataFrame, total: pd.Series) -> pd.DataFrame:
    """Those of `rows` in the last round, if any is in a round; `total` holds the number of rounds, if it is known."""
    last = rows[rows["round"] == rows["round"].max()]
    return last.assign(reached=last["round"], rounds=float(total.iloc[0]) if len(total) else float("nan"))


def _count(rows: pd.DataFrame) -> pd.DataFrame:
    counted = rows.head(1).copy()
    counted[["metric", "value", "n", "unit"]] = ["rows", len(rows), float("nan"), ""]
    counted[["reached", "rounds"]] = float("nan")
    counted["method"] = ""
    return counted


ROWS = Progress(_count, ("rows",))
"""How many rows there are: of papers that say nothing else, and of cells that have no more to say yet."""
