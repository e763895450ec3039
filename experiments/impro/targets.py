"""Rounds until an accuracy is reached: the fixed target of a setting, and the best that FedAvg reached itself."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from experiments.core.report.tables import KEYS
from experiments.impro import printed
from experiments.impro.reading import BASIC, axes, curves, methods_trained

KINDS = {"fixed": "fixed", "fedavg": "best of our FedAvg"}
"""Kinds of targets: the setting's `target`; the best accuracy of FedAvg of the same cell and seed."""


def to_targets(rows: pd.DataFrame) -> pd.DataFrame:
    """Rounds that each algorithm and seed takes to reach each kind of target.

    Returns:
        KEYS, the axes, cell, data, net, method, kind (of KINDS), goal (the fixed target as text, or "fedavg_best"),
        target [%], rounds (the first evaluated round that reaches it, NaN: never), run (the most rounds that any
        algorithm of the cell and seed ran: what one that never reaches it is censored at). Of several fixed targets
        only the paper's for the cell, if it is one.
    """
    by = _by(rows)
    parts = [part for part in (_fixed(rows, by), _of_fedavg(rows, by)) if len(part)]
    if not parts:
        return pd.DataFrame(columns=[*by, *_MORE])
    found = pd.concat(parts, ignore_index=True)
    # A run that left the finite numbers early has not reached the target sooner: it counts as long as its neighbours.
    return found.assign(run=found.groupby(["cell", "seed"])["run"].transform("max"))


_MORE = ("kind", "goal", "target", "rounds", "run")


_OWN = {"kind": "fedavg", "goal": "fedavg_best"}


def _by(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys([*KEYS, *axes(rows), "cell", "data", "net", "method"]))


def _fixed(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    told = rows[(rows["metric"] == "rounds_to_target") & rows["method"].isin(methods_trained(rows))]
    target = pd.to_numeric(told["target"], errors="coerce")
    rounds, run = told["value"].astype(float), told["n"].astype(float)
    told = told.assign(kind="fixed", goal=told["target"], target=target, rounds=rounds, run=run)
    return _meant(told[[*by, *_MORE]])


def _meant(told: pd.DataFrame) -> pd.DataFrame:
    """The paper's target of each cell where it is among those asked for, which are shared by all cells of a task."""
    fl = told["fl"].where(told["fl"] != "", BASIC) if "fl" in told else pd.Series(BASIC, index=told.index)
    of_paper = [printed.target(*pair) for pair in zip(told["data"], fl, strict=True)]
    its = told["target"] == pd.Series(of_paper, index=told.index, dtype=float)
    return told[its | ~its.groupby(told["cell"]).transform("any")]


def _of_fedavg(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    accuracy = curves(rows)
    best = accuracy[accuracy["method"] == "fedavg"].groupby(["cell", "seed"])["value"].max()
    lines = []
    for key, curve in accuracy.groupby(by, sort=False):
        line = dict(zip(by, key, strict=True))
        target = float(best.get((line["cell"], line["seed"]), math.nan))
        if not math.isnan(target):
            reached = first_round(curve["round"], curve["value"], target)
            lines.append({**line, **_OWN, "target": target, "rounds": reached, "run": curve["round"].max()})
    return pd.DataFrame(lines, columns=[*by, *_MORE])


def first_round(rounds: pd.Series, accuracy: pd.Series, target: float) -> float:
    """The first round whose accuracy is at least `target`; NaN if none is."""
    reaching = rounds[accuracy >= target]
    return float(reaching.min()) if len(reaching) else math.nan


def median(rounds: pd.Series) -> float:
    """The median of rounds in which NaN (never) is later than any; NaN where the median itself is never."""
    middle = float(rounds.fillna(np.inf).median()) if len(rounds) else math.inf
    return middle if math.isfinite(middle) else math.nan
