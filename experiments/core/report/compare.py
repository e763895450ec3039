"""Ours against the paper's: one row per printed number, and one of reproduced, close, differs, not run."""

from __future__ import annotations

import json
import math
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from experiments.core.errors import SpecError
from experiments.core.report.artefacts import stand_in_of
from experiments.core.report.numbers import number
from experiments.core.report.reference import Reference

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("reproduced", "close", "differs", "not run")

COLUMNS = (
    "key", "kind", "paper", "setting", "stand_in", "scale", "dataset", "metric", "method", "subject", "round", "unit",
    "ours", "sd", "low", "high", "seeds", "reference", "difference", "tolerance_reproduced", "tolerance_close",
    "status", "source", "note",
)  # fmt: skip
"""Columns of comparison.csv. ours: mean over `seeds` seeds; sd: their standard deviation (n - 1); low, high: the least
and the greatest seed; reference: the paper's; difference: ours - reference."""


def compare(
    references: list[Reference], metrics: pd.DataFrame, spec: pd.DataFrame, paper: str, scale: str
) -> pd.DataFrame:
    """Put every reference beside what we measured.

    Args:
        references: the paper's numbers.
        metrics: rows of its metrics.csv files, all of one scale (text columns as text).
        spec: rows of its spec.csv files (setting, key, value as JSON).
        paper: written into the result.
        scale: written into the result.

    Returns:
        A frame with COLUMNS. A reference has one row for its own setting ("not run" when there is nothing) and one more
        for every stand-in setting that has the number.

    Raises:
        SpecError: a reference matches more than one of our numbers per seed.
    """
    import pandas as pd

    settings = sorted(set(metrics["setting"]) | set(spec["setting"]))
    rows: list[dict[str, Any]] = []
    for reference in references:
        stand_ins = [s for s in settings if s.startswith(f"{reference.setting}-") and stand_in_of(s)]
        for setting in [reference.setting, *stand_ins]:
            ours = _ours(reference, setting, metrics, spec)
            if ours is None and setting != reference.setting:
                continue
            rows.append(_row(reference, setting, ours) | {"paper": paper, "scale": scale})
    _judge_formulas(rows)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(object)


def _ours(reference: Reference, setting: str, metrics: pd.DataFrame, spec: pd.DataFrame) -> dict[str, Any] | None:
    if reference.kind == "formula":
        return None
    for metric in reference.metric.split("|"):
        named, _, key = metric.partition("spec:")
        ours = (
            _from_spec(key, setting, spec) if key and not named else _from_metrics(reference, metric, setting, metrics)
        )
        if ours is not None:
            return ours
    return None


def _from_spec(key: str, setting: str, spec: pd.DataFrame) -> dict[str, Any] | None:
    values = spec[(spec["setting"] == setting) & (spec["key"] == key)]["value"].tolist()
    value = json.loads(values[0]) if values else None
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"values": [float(value)], "unit": "", "dataset": ""}
    return {"values": value if isinstance(value, list) else str(value), "unit": "", "dataset": "", "list": True}


def _from_metrics(reference: Reference, metric: str, setting: str, metrics: pd.DataFrame) -> dict[str, Any] | None:
    over, _, name = metric.rpartition(":")
    rows = metrics[(metrics["setting"] == setting) & (metrics["metric"] == name)]
    axis = reference.subject.removesuffix("*") if reference.subject.endswith("=*") and not over else ""
    if axis:
        rows = rows[rows["subject"].str.startswith(axis)]
    rows = _first(rows, reference.method, "" if axis else reference.subject, bool(over))
    if reference.round == "last" and rows["round"].notna().any():
        rows = rows[rows["round"] == rows.groupby("seed")["round"].transform("max")]
    elif reference.round and reference.round != "last":
        rows = rows[rows["round"] == float(reference.round)]
    if not len(rows):
        return None
    if axis:
        rows = _slopes(rows, axis)
    if over:
        rows = _over(rows, over)
        if not len(rows):
            return None
    if rows["seed"].duplicated().any():
        raise SpecError(
            f"{reference.key} matches several numbers per seed", "reference.csv", "name method, subject, round"
        )
    one = {column: ", ".join(sorted(set(rows[column]) - {""})) for column in ("unit", "dataset")}
    return {"values": [float(v) for v in rows["value"]], **one}


def _first(rows: pd.DataFrame, method: str, subject: str, pattern: bool) -> pd.DataFrame:
    """The rows of the first of the methods and subjects `a|b` that has any; subjects with `*` if `pattern`."""
    import numpy as np

    for one, about in product(method.split("|"), subject.split("|")):
        matching = rows[rows["method"] == one] if one else rows
        if about:
            same = fnmatchcase if pattern else str.__eq__
            matching = matching[np.array([same(text, about) for text in matching["subject"]], dtype=bool)]
        if len(matching):
            return matching
    return rows.iloc[:0]


def _over(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """One row a seed: mean, sd (n - 1), highest, lowest of its values, or their n; none where that is undefined."""
    if what == "n":
        return rows.assign(value=rows["n"]).drop_duplicates(["seed", "value"])
    how = {"mean": "mean", "sd": "std", "highest": "max", "lowest": "min"}[what]
    per_seed = rows.drop_duplicates("seed").copy()
    per_seed["value"] = per_seed["seed"].map(rows.groupby("seed")["value"].agg(how))
    return per_seed.dropna(subset=["value"])


def _slopes(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """One row a seed: the slope of log value over log of the number behind `axis` (NaN where undefined)."""
    import numpy as np

    per_seed = rows.drop_duplicates("seed").copy()
    slopes = []
    for seed in per_seed["seed"]:
        of_seed = rows[rows["seed"] == seed]
        x, y = of_seed["subject"].str.removeprefix(axis).astype(float), of_seed["value"].astype(float)
        usable = x.nunique() > 1 and bool((y > 0).all())
        slopes.append(float(np.polyfit(np.log(x), np.log(y), 1)[0]) if usable else math.nan)
    per_seed["value"] = slopes
    return per_seed


def _row(reference: Reference, setting: str, ours: dict[str, Any] | None) -> dict[str, Any]:
    same = {
        c: getattr(reference, c)
        for c in ("key", "kind", "metric", "method", "subject", "round", "unit", "source", "note")
    }
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | same
    row |= {"setting": setting, "stand_in": stand_in_of(setting) if setting != reference.setting else ""}
    printed = reference.number
    row |= {"reference": reference.value if printed is None else printed, "seeds": 0, "status": "not run"}
    if reference.tolerance_close:
        row |= {t: float(getattr(reference, t)) for t in ("tolerance_reproduced", "tolerance_close")}
    if ours is None:
        return row
    row["dataset"] = ours["dataset"]
    times = 100.0 if reference.unit == "%" and ours["unit"] != "%" else 1.0
    if printed is not None and ours.get("list"):
        return row | _judge_list(printed, ours["values"], times)
    if isinstance(ours["values"], str) or printed is None:
        return row | _judge_text(reference, ours["values"])
    return row | _judge_numbers(reference, printed, [v * times for v in ours["values"]])


def _judge_text(reference: Reference, ours: str | list[float]) -> dict[str, Any]:
    text = ours if isinstance(ours, str) else _of_values(ours)
    accepted = (reference.same_as or reference.value).split("|")
    return {"ours": text, "seeds": 1, "status": "reproduced" if text in accepted else "differs"}


def _of_values(values: list[float]) -> str:
    """The first number there is, as text; NaN where no seed has one."""
    return next((number(value) for value in values if not math.isnan(value)), "NaN")


def _judge_list(printed: float, ours: Any, times: float) -> dict[str, Any]:
    """A list of ours (or a text) against one printed number."""
    values = [float(v) * times for v in ours if isinstance(v, (int, float))] if isinstance(ours, list) else []
    among = any(math.isclose(v, printed, rel_tol=1e-9) for v in values)
    text = ", ".join(number(v) for v in values) or str(ours)
    return {"ours": text, "seeds": 1, "status": "reproduced" if among else "differs"}


def _judge_numbers(reference: Reference, printed: float, values: list[float]) -> dict[str, Any]:
    n, mean = len(values), math.fsum(values) / len(values)
    sd: float | str = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else ""
    row = {"ours": mean, "sd": sd, "low": min(values), "high": max(values), "seeds": n, "difference": mean - printed}
    return row | {"status": status(reference, printed, mean)}


def status(reference: Reference, printed: float, ours: float) -> str:
    """reproduced, close or differs, by the reference's rule and tolerances; anything not finite differs."""
    if not math.isfinite(ours):
        return "differs"
    if reference.rule == "log10":
        distance = abs(math.log10(ours / printed)) if ours > 0 else math.inf
    else:
        distance = max(0.0, ours - printed) if reference.rule == "below" else abs(ours - printed)
    if not reference.tolerance_close:
        return "reproduced" if math.isclose(ours, printed, rel_tol=1e-9) else "differs"
    # Printed decimals are not exact in binary: 0.80 - 0.75 must still lie within 0.05.
    slack = 1e-9 * (1.0 if reference.rule else max(1.0, abs(printed)))
    if distance <= float(reference.tolerance_reproduced) + slack:
        return "reproduced"
    return "close" if distance <= float(reference.tolerance_close) + slack else "differs"


def _judge_formulas(rows: list[dict[str, Any]]) -> None:
    """Fill in the formula rows: ours is the product of measured powers, the status that of the worst exponent."""
    for row in rows:
        parts = [r for r in rows if r["key"].startswith(row["key"] + "#") and r["setting"] == row["setting"]]
        if row["kind"] == "formula" and parts:
            row["status"] = max((p["status"] for p in parts), key=STATUSES.index)
            row["seeds"] = min(p["seeds"] for p in parts)
            if row["seeds"]:
                row["ours"] = "*".join(f"{p['key'].rpartition('#')[2]}^{number(p['ours'], 3)}" for p in parts)
