"""Test accuracies over seeds, ours beside the paper's: the frames behind Tables 1, 3 and 6 to 11."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.core.report.tables import ABOUT
from experiments.impro import printed
from experiments.impro.reading import axes
from experiments.impro.spec import ORDER

QUOTED = ("feddyn", "fedspeed", "ccvr", "feddf", "spherefed")
"""Methods whose numbers in Table 10 the authors copied from these methods' own papers."""

NUMBERS = (
    "settings", "best", "sd", "last", "last ten", "seeds", "diverged", "paper", "paper sd", "difference", "target",
    "rounds", "reached", "rounds run", "paper rounds",
)  # fmt: skip
"""The columns of the tables that are no names, in their order."""

_EMPTY = pd.Series(dtype=float)


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Over seeds, a line a point: best, sd, last, last ten, seeds, diverged, after setting, scale, axes, net, data.

    Args:
        runs: as `reading.finals` makes them.
    """
    places = [axis for axis in dict.fromkeys([*ORDER, *axes(runs)]) if axis != "algorithm"]
    by = [*ABOUT, *places, "net", "data", "method"]
    lines = [{**dict(zip(by, key, strict=True)), **of_seeds(part)} for key, part in runs.groupby(by, sort=False)]
    return pd.DataFrame(lines)


def axes_in(frame: pd.DataFrame) -> list[str]:
    """The columns of a table's frame that are axes of the grid, but for task and algorithm."""
    return [c for c in frame.columns if c not in {*ABOUT, "task", "net", "data", "method", "note", *NUMBERS}]


def of_seeds(part: pd.DataFrame) -> dict[str, Any]:
    """The numbers of one line of a table, from a line a seed: means, sd (n - 1, NaN of one), counts."""
    best, last, ten = (part.get(column, _EMPTY) for column in ("best", "last", "last ten"))
    return {
        "best": float(best.mean()), "sd": float(best.std()), "last": float(last.mean()), "last ten": float(ten.mean()),
        "seeds": int(max(best.notna().sum(), last.notna().sum())),
        "diverged": int(part.get("diverged", _EMPTY).notna().sum()),
    }  # fmt: skip


def beside(ours: pd.DataFrame, table: str, on: Sequence[str], whole: bool) -> pd.DataFrame:
    """`ours` with `paper`, `paper sd` and `difference` (ours less the paper's).

    Args:
        ours: as `accuracies` makes it. table: in the keys of reference.csv. on: the columns that tell which number of
            the paper's belongs to one of ours.
        whole: the paper's numbers that we have nothing for are lines, too, and say so in the column `note`.
    """
    theirs = printed.table(table)
    theirs = theirs[theirs["what"] == "acc"] if "what" in theirs else theirs
    theirs = _near(theirs, ours)[[*on, "paper", "paper sd"]]
    joined = ours.merge(theirs, on=list(on), how="outer" if whole else "left", sort=False)
    return _completed(joined, ours, table).assign(difference=joined["best"] - joined["paper"])


def apart(ours: pd.DataFrame, table: str, on: Sequence[str]) -> pd.DataFrame:
    """`ours`, and the paper's numbers as lines of their own: of another net, they stand beside none of ours."""
    theirs = printed.table(table)[[*on, "paper", "paper sd"]]
    return _completed(pd.concat([ours, theirs], ignore_index=True), ours, table)


def _near(theirs: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """The paper's numbers of our data sets, if it has any; in Table 11 also of our federated settings only."""
    of_data = theirs[theirs["data"].isin(ours["data"])]
    near = of_data if len(of_data) else theirs
    of_fl = near[near["fl"].isin(ours["fl"])] if "per_round" in theirs else near
    return of_fl if len(of_fl) else near


def _completed(joined: pd.DataFrame, ours: pd.DataFrame, table: str) -> pd.DataFrame:
    """`joined` with setting, scale and counts in the lines that are only the paper's, and what these are."""
    missing = joined["scale"].isna()
    method = joined["method"] if "method" in joined else pd.Series("", index=joined.index)
    quoted = joined["paper"].notna() & method.isin(QUOTED) & (table == "table10")
    note = missing.map({True: "not run", False: ""}).mask(missing & quoted, "not run; the paper's is quoted")
    note = note.mask(~missing & quoted, "the paper's is quoted")
    same = {column: joined[column].fillna(ours[column].iloc[0]) for column in ABOUT}
    counts = {column: joined[column].fillna(0).astype(int) for column in ("seeds", "diverged")}
    ours_only = missing & (method.isna() | (method == ""))  # tables of FedImpro alone name no method
    return joined.assign(**same, **counts, method=method.mask(ours_only, "fedimpro"), note=note)


def averages(runs: pd.DataFrame) -> pd.DataFrame:
    """Lines `average` of Table 1: each algorithm's mean over the federated settings that all of a task's finished.

    Returns:
        As `accuracies` with fl "average"; sd over seeds of the mean. Tasks with one such setting have none.
    """
    parts = []
    for _, of_task in runs[runs["best"].notna()].groupby(["task", "net", "data"], sort=False):
        everywhere = of_task.groupby("fl")["method"].nunique() == of_task["method"].nunique()
        shared = [str(fl) for fl in everywhere.index[everywhere]]
        if len(shared) > 1:
            parts.append(_averaged(of_task[of_task["fl"].isin(shared)]).assign(settings=len(shared)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _averaged(runs: pd.DataFrame) -> pd.DataFrame:
    by = [*ABOUT, "task", "net", "data", "method", "seed"]
    numbers = [column for column in ("best", "last", "last ten") if column in runs]
    grouped = runs.groupby(by, sort=False)
    # A seed that diverged in one federated setting has no average: that of the others would be of easier ones.
    each = grouped[numbers].agg(lambda values: values.mean(skipna=False)).reset_index()
    if "diverged" in runs:
        each["diverged"] = grouped["diverged"].min().to_numpy()
    blank = dict.fromkeys([axis for axis in ORDER if axis not in each], "")
    return accuracies(each.assign(**{**blank, "fl": "average", "point": ""}))
