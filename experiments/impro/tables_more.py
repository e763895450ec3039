"""Rounds to a target (Table 2) and learning rates (Table 5), ours beside the paper's, and the configuration as run."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, UNPRINTED, filled
from experiments.impro import printed
from experiments.impro.reading import (
    BASIC,
    DATA,
    MODELS,
    axes,
    by_place,
    label_of,
    named,
)
from experiments.impro.targets import KINDS, median, to_targets


def table2(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table 2: rounds to the setting's target and to the best accuracy of our FedAvg."""
    reached = to_targets(rows)
    if reached.empty:
        return None
    by = [*ABOUT, *(axis for axis in axes(rows) if axis != "algorithm"), "data", "net", "kind", "goal", "method"]
    lines = [
        {**dict(zip(by, key, strict=True)), **_reached(part)}
        for key, part in reached.groupby(list(dict.fromkeys(by)), sort=False)
    ]
    frame = _beside(by_place(pd.DataFrame(lines), [*by[2:-5], "data", "kind", "goal", "method"]))
    caption = (
        "Table 2: rounds until the test accuracy first reaches a target: the setting's, or the best that our FedAvg "
        "of the same seed reached in its own run (so FedAvg's own number is its best round). rounds: median over "
        "seeds, a seed that never reached it counting as later than any; sooner, later: the extremes of those that "
        "did; reached: how many of the seeds; rounds run: what the others are censored at. paper: its rounds to its "
        "own target, for the same data set and federated setting."
    )
    return Artefact(name, worded(frame), None, caption, table_md=True, blanks=_TABLE2)


_TABLE2 = {
    "rounds": "half of the seeds or more never reached it", **dict.fromkeys(("sooner", "later"), "no seed reached it"),
    **dict.fromkeys(("paper", "paper target"), UNPRINTED), "target": "none is set",
}  # fmt: skip


def _reached(part: pd.DataFrame) -> dict[str, Any]:
    rounds = part["rounds"]
    return {
        "target": float(part["target"].mean()), "rounds": median(rounds), "sooner": float(rounds.min()),
        "later": float(rounds.max()), "reached": int(rounds.notna().sum()), "seeds": len(part),
        "rounds run": int(part["run"].max()),
    }  # fmt: skip


def _beside(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the paper's target and rounds beside those to a fixed target."""
    theirs = printed.table("table2")
    rounds = theirs.set_index(["data", "fl", "method"])["paper text"].replace("NaN", "never")
    fl = frame["fl"] if "fl" in frame else pd.Series(BASIC, index=frame.index)
    told = [
        (rounds.get((data, at, method), ""), printed.target(data, at)) if kind == "fixed" else ("", math.nan)
        for data, at, method, kind in zip(frame["data"], fl, frame["method"], frame["kind"], strict=True)
    ]
    return frame.assign(**{"paper": [t for t, _ in told], "paper target": [t for _, t in told]})


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with names for the words of data set, model, kind of target, federated setting and algorithm."""
    told = frame.assign(
        data=frame["data"].map(lambda data: DATA.get(data, data)),
        model=frame["net"].map(lambda net: MODELS.get(net, net)),
        algorithm=frame["method"].map(label_of),
    )
    if "fl" in told:
        told["fl"] = told["fl"].map(lambda fl: named("fl", fl))
    if "kind" in told:
        told["kind"] = told["kind"].map(KINDS)
    first = [c for c in ("setting", "scale", "data", "model", "fl") if c in told]
    left = {"task", "net", "method", "goal", *first, "algorithm"}
    start = [c for c in told.columns if c not in left and c in ("split", "noise", "per_round", "variant", "kind")]
    rest = [c for c in told.columns if c not in left and c not in start]
    return filled(told[[*first, *start, "algorithm", *rest]])


def table5(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table 5: the learning rates as run, and the paper's."""
    rates = rows[(rows["metric"] == "learning_rate") & rows["value"].notna()]
    if rates.empty:
        return None
    more = [axis for axis in axes(rows) if axis != "algorithm"]
    frame = rates.rename(columns={"value": "learning rate"})
    frame = frame[[*ABOUT, *more, "data", "net", "method", "learning rate"]].drop_duplicates()
    theirs = printed.table("table5").set_index(["data", "fl", "method"])["paper"]
    fl = frame["fl"] if "fl" in frame else pd.Series(BASIC, index=frame.index)
    index = pd.MultiIndex.from_arrays([frame["data"], fl, frame["method"]])
    frame = frame.assign(paper=theirs.reindex(index).to_numpy())
    caption = (
        "Table 5: the learning rates as run. paper: its own for the same data set, federated setting and algorithm, "
        "the best of the grid 0.0001, 0.001, 0.01, 0.1, 0.3; it lists none for FedDyn."
    )
    worded_frame = worded(by_place(frame, [*more, "method"]))
    return Artefact(name, worded_frame, None, caption, table_md=True, blanks={"paper": UNPRINTED})


def configuration(rows: pd.DataFrame, name: str) -> Artefact | None:
    """What was run at every point of the grid, mean over seeds; algorithms of one cell that ran alike in one line."""
    config = rows[(rows["metric"] == "config") & rows["value"].notna()]
    if config.empty:
        return None
    more = [axis for axis in axes(rows) if axis != "algorithm"]
    by = list(dict.fromkeys([*ABOUT, *more, "dataset", "partition", "model", "point"]))
    wide = config.groupby([*by, "key"], sort=False)["value"].mean().unstack("key").reset_index()
    frame = by_place(wide.drop(columns="point").drop_duplicates().rename_axis(columns=None), more)
    blanks = dict.fromkeys(frame.columns, "not asked of such a run")
    return Artefact(
        name, filled(frame), None, "The configuration as run, mean over seeds.", table_md=True, blanks=blanks
    )
