"""Scores against what they are to tell: held-out difficulty, planted labels, the effect of leaving samples out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from experiments.core.report.tables import ABOUT, over_seeds
from experiments.vog.reading import axes, by_place, pick

ENDS = ("low", "high")
AGAINST = {
    "held_out_loss": "held-out loss", "held_out_error": "held-out error", "planted": "planted labels (AUROC)",
}  # fmt: skip
"""What difficulty is, in the order of figures."""


_AUDIT = (
    "stated_epsilon", "audit_epsilon", "audit_most", "audit_epsilon_loss", "audit_epsilon_gaussian", "runs", "tpr",
    "fpr",
)  # fmt: skip


def with_intervals(rows: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds and range, or the interval that a single seed brings.

    Args:
        rows: as `reading.parse` makes them. metric: with `<metric>_low` and `_high` beside. by: columns of subjects.

    Returns:
        ABOUT, the axes, data, net, point, method, `by`, n (the least), value, low, high, seeds.
    """
    told = pick(rows, metric)
    keys = [*dict.fromkeys([*ABOUT, *axes(rows), "data", "net", "point", "method", *by])]
    if told.empty:
        return pd.DataFrame(columns=[*keys, "n", "value", "low", "high", "seeds"])
    frame = over_seeds(told, keys).rename(columns={"mean": "value"})
    frame = frame.merge(told.groupby(keys, sort=False)["n"].min().reset_index(), on=keys)
    for end in ENDS:
        own = pick(rows, f"{metric}_{end}")
        of = own.groupby(keys, sort=False)["value"].mean().rename("own").reset_index()
        single = frame[keys].merge(of, on=keys, how="left")["own"]
        frame[end] = frame[end].where(frame["seeds"] > 1, single.to_numpy())
    return by_place(frame, [*axes(rows), *by, "method"])


def difficulty(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman with held-out loss and error, AUROC for planted labels; `against` says which."""
    held = with_intervals(rows, "difficulty_spearman", ["against"])
    planted = with_intervals(rows, "noise_auroc", []).assign(against="planted")
    known = [frame for frame in (held, planted) if len(frame)]
    return pd.concat(known, ignore_index=True) if known else held


def truth(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman with the change of test loss, by kind and size of what is left out; what can be reached beside.

    Returns:
        As `with_intervals` with truth, size and release ("" for scores in the clear), then `ceiling` (another seed's
        truth), `null` (the spread that rounding alone makes, over that of the truth).
    """
    frame = with_intervals(rows, "truth_spearman", ["truth", "size", "release"])
    on = ["point", "truth", "size"]
    ceiling = pick(rows, "ceiling_spearman").groupby(on)["value"].mean().rename("ceiling")
    spread = pick(rows, "truth_spread").groupby(on)["value"].mean().rename("spread")
    null = pick(rows, "null_spread").groupby("point")["value"].mean().rename("null")
    frame = frame.join(ceiling, on=on).join(spread, on=on).join(null, on="point")
    frame["null"] = frame["null"] / frame["spread"].where(frame["spread"] > 0, math.nan)
    return frame.drop(columns="spread")


def release(rows: pd.DataFrame) -> pd.DataFrame:
    """Released scores against those in the clear: Spearman with its interval, same of 25, and what is spent in all.

    Returns:
        As `with_intervals` with release, then overlap, and the `total epsilon` and `total delta` of training and
        release together.
    """
    frame = with_intervals(rows, "release_spearman", ["release"])
    on = ["point", "release"]
    overlap = pick(rows, "release_overlap").groupby([*on, "method"])["value"].mean().rename("overlap")
    frame = frame.join(overlap, on=[*on, "method"])
    for name in ("epsilon", "delta"):
        spent = pick(rows, f"release_{name}", method="privacy").groupby(on)["value"].mean()
        frame = frame.join(spent.rename(f"total {name}"), on=on)
    return frame


def audit(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a point: stated and empirical epsilon, mean and range over seeds, and what it rests on."""
    told = pick(rows, list(_AUDIT), method="audit")
    keys = list(dict.fromkeys([*ABOUT, *axes(rows), "data", "net", "point"]))
    if told.empty or not {"stated_epsilon", "audit_epsilon"} <= set(told["metric"]):
        return pd.DataFrame()
    wide = over_seeds(told, [*keys, "metric"]).set_index([*keys, "metric"])
    means = wide["mean"].unstack("metric").reset_index().rename_axis(columns=None)
    ends = wide.xs("audit_epsilon", level="metric")[["low", "high", "seeds"]].reset_index()
    frame = means.merge(ends, on=keys)
    known = [c for c in ("stated_epsilon", "audit_epsilon", "low", "high", *_AUDIT[2:], "seeds") if c in frame]
    return by_place(frame[[*keys, *known]], axes(rows))
