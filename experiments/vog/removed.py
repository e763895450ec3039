"""What training loses without some of its samples (Table 1): accuracies by seed, and against the controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.core.report.effects import over_seeds, paired
from experiments.core.report.tables import ABOUT
from experiments.vog import printed
from experiments.vog.reading import CONTROLS, axes, methods, pick, points

ACCURACY = "removal_accuracy"
ENDS = {"highest": "highest", "lowest": "lowest", "none": "none", "random": "random"}
"""What may be left out, in the order of tables."""

NUMBERS = (
    "accuracy", "low", "high", "seeds", "minus random", "random low", "random high", "minus none", "none low",
    "none high", "on what is left", "paper", "difference",
)  # fmt: skip


def of_seeds(rows: pd.DataFrame, point: str, metric: str = ACCURACY) -> dict[tuple[str, str], pd.Series]:
    """(method, pick) -> its number by seed at a point; the draws of random removal count on average."""
    told = pick(rows, metric, point=point)[["method", "pick", "seed", "value"]]
    each = told.groupby(["method", "pick", "seed"])["value"].mean()
    parts = {key: values.droplevel(["method", "pick"]) for key, values in each.groupby(["method", "pick"])}
    keys = [(method, end) for method in methods(told["method"]) for end in ENDS]
    return {key: parts[key] for key in keys if key in parts}


def control(found: dict[tuple[str, str], pd.Series], name: str) -> pd.Series:
    """The numbers of a control by seed; empty without any."""
    return found.get((name, name), pd.Series(dtype=float))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a point, method and end: the axes, method, pick, share, NUMBERS; empty without removal."""
    lines = []
    known = pick(rows, ACCURACY)
    grid, shares = axes(known), _shares(known)
    for point in points(known) if len(known) else []:
        found = of_seeds(rows, point)
        left = of_seeds(rows, point, "removal_train_accuracy")
        first = known[known["point"] == point].iloc[0]
        place = {column: first[column] for column in [*ABOUT, *grid, "data", "net", "point"]}
        for (method, end), values in found.items():
            told = _numbers(found, values, left.get((method, end), pd.Series(dtype=float)))
            paper = printed.removal(point, method) if end == "highest" else math.nan
            told |= {"paper": paper, "difference": told["accuracy"] - paper}
            lines.append({**place, "method": method, "pick": end, "share": shares.get((method, end), ""), **told})
    return pd.DataFrame(lines)


def _shares(known: pd.DataFrame) -> dict[tuple[str, str], str]:
    columns = [known[key] for key in ("method", "pick", "share")]
    return {(str(method), str(end)): str(share) for method, end, share in zip(*columns, strict=True)}


def _numbers(found: dict[tuple[str, str], pd.Series], values: pd.Series, left: pd.Series) -> dict[str, Any]:
    told: dict[str, Any] = {
        "accuracy": float(values.mean()), "low": float(values.min()), "high": float(values.max()),
        "seeds": len(values), "on what is left": float(left.mean()) if len(left) else math.nan,
    }  # fmt: skip
    for name in CONTROLS:
        other = control(found, name)
        effect = over_seeds(paired(values, other) if other is not values else [])
        told |= {f"minus {name}": effect.value, f"{name} low": effect.low, f"{name} high": effect.high}
    return told


def differences(rows: pd.DataFrame, point: str, firsts: Sequence[str], seconds: Sequence[str]) -> list[dict[str, Any]]:
    """first, second, values: accuracy by seed without the highest of `first`, less that of `second`."""
    found = of_seeds(rows, point)
    return [
        {"first": a, "second": b, "values": paired(found[a, "highest"], found[b, "highest"])}
        for a in firsts
        for b in seconds
        if (a, "highest") in found and (b, "highest") in found
    ]
