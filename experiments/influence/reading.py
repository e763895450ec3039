"""Picking the numbers of tables and figures out of metrics.csv. No drawing here; frames in, frames out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.core.estimators.client_influence import ClientInfluence
from experiments.core.estimators.method import labels
from experiments.core.report.reference import Printed
from experiments.core.report.subjects import clients
from experiments.core.report.tables import KEYS
from experiments.core.subject import subject as subject_of
from experiments.core.subject import words

LABELS = labels(ClientInfluence)
VARIANTS = tuple(LABELS)
TEST, COUNTED, WHOLE = subject_of(data="test"), subject_of(clients="counted"), subject_of(tensors="all")
ORDERS = ("lowest FIL", "highest FIL", "lowest FIA", "highest FIA", "random")


def family(setting: str) -> str:
    """The paper's setting behind a setting or its stand-in ("setting2-digits" -> "setting2"); "" for anything else."""
    word = setting.partition("-")[0]
    return word if word in ("setting1", "setting2", "setting3") else ""


_PRINTED = Printed(Path(__file__).with_name("reference.csv"), "fed_influence")


def printed(setting: str, key: str) -> float:
    """The paper's number `fed_influence.<key>`, "{}" in it being the paper's setting behind `setting`; NaN if none."""
    return _PRINTED.number(key.format(family(setting)))


def printed_text(setting: str, key: str) -> str:
    """The same as it stands in print; "" if the paper has none."""
    return _PRINTED.text(key.format(family(setting)))


def only(frame: pd.DataFrame, column: str) -> str:
    """The one value of `column` in `frame`.

    Raises:
        ValueError: there are several, or none.
    """
    (value,) = frame[column].unique()
    return str(value)


def pick(metrics: pd.DataFrame, metric: str | Sequence[str], subject: str | None = None) -> pd.DataFrame:
    """Rows of `metric`, with KEYS, method, metric, subject, round, value; values that are not finite left out."""
    wanted = [metric] if isinstance(metric, str) else list(metric)
    rows = metrics[metrics["metric"].isin(wanted) & np.isfinite(metrics["value"].astype(float))]
    if subject is not None:
        rows = rows[rows["subject"] == subject]
    return rows[[*KEYS, "method", "metric", "subject", "round", "value"]].reset_index(drop=True)


def worded(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the value of their subject's one word in its place, as figures' CSVs show it: all, 0.weight."""
    return rows.assign(subject=[*map(_only_value, rows["subject"])])


def _only_value(subject: str) -> str:
    (value,) = words(subject).values()
    return value


def variants(rows: pd.DataFrame) -> list[str]:
    """The estimators in `rows`, in the order of the paper."""
    present = set(rows["method"])
    return [v for v in VARIANTS if v in present]


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each seed's last round, whatever the method: a method that stopped earlier has none."""
    return rows[rows["round"] == rows.groupby("seed")["round"].transform("max")]


def distinct(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Variant -> label, variants with equal numbers under one label ("basic = LWET"), so that no line hides another."""
    by = rows.set_index(["method", "seed", "metric", "subject", "round"])["value"].sort_index()
    series = {name: by.loc[name] for name in names}
    shown: dict[str, str] = {}
    for name in names:
        same = next((k for k in shown if _equal(series[k], series[name])), None)
        shown[same or name] = f"{shown[same]} = {LABELS[name]}" if same else LABELS[name]
    return shown


def _equal(one: pd.Series, other: pd.Series) -> bool:
    return one.index.equals(other.index) and bool(np.allclose(one, other, rtol=1e-6, atol=0))


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x by least squares, the power in y ~ x^power. NaN without two x, or a y above 0."""
    ys = np.asarray(y, dtype=float)
    if len(set(x)) < 2 or not bool((ys > 0).all()):
        return math.nan
    return float(np.polyfit(np.log(np.asarray(x, dtype=float)), np.log(ys), 1)[0])


def scatter(metrics: pd.DataFrame, metric: str = "fil") -> pd.DataFrame:
    """Estimate beside truth in the last round: KEYS, method, round, client, exact, estimated."""
    rows = last(metrics[metrics["metric"] == metric])
    on = [*KEYS, "round", "subject"]
    exact = rows[rows["method"] == "exact"][[*on, "value"]].rename(columns={"value": "exact"})
    both = rows[rows["method"].isin(VARIANTS)].merge(exact, on=on).rename(columns={"value": "estimated"})
    both["client"] = clients(both["subject"])
    return both[[*KEYS, "method", "round", "client", "exact", "estimated"]]


def cleansing(metrics: pd.DataFrame) -> pd.DataFrame:
    """Client cleansing: KEYS, order, metric (loss, accuracy), share, round, value, before (nobody removed), change."""
    rows = pick(metrics, ["cleansing_loss", "cleansing_accuracy"]).rename(columns={"method": "order"})
    rows["share"] = rows["subject"].map(lambda text: float(words(text)["removed"]))
    rows["metric"] = rows["metric"].str.removeprefix("cleansing_")
    on = ["seed", "order", "metric"]
    before = rows[rows["share"] == 0][[*on, "value"]].rename(columns={"value": "before"})
    rows = rows.merge(before, on=on)
    rows["change"] = rows["value"] - rows["before"]
    return rows[[*KEYS, "order", "metric", "share", "round", "value", "before", "change"]]


def ranking_variant(metrics: pd.DataFrame) -> str:
    """The variant that estimated everybody, and by which clients were ranked; "" without any."""
    rows = metrics[(metrics["metric"] == "fil") & metrics["method"].isin(VARIANTS)]
    sizes = rows.groupby("method")["subject"].nunique()
    return max(sizes.index, key=lambda v: (sizes[v], VARIANTS.index(v))) if len(sizes) else ""


def ranking_round(metrics: pd.DataFrame) -> int:
    """x, the round of the cleansing.

    From the row `config cleansing_round`; where a run has none, the recorded round nearest to the share x/T of the run
    that the paper used; for a setting not of the paper, the last round recorded.
    """
    configured = metrics[(metrics["metric"] == "config") & (metrics["subject"] == subject_of(key="cleansing_round"))][
        "value"
    ]
    if len(configured):
        return int(configured.iloc[0])
    ranked = metrics[(metrics["metric"] == "fil") & (metrics["method"] == ranking_variant(metrics))]
    rounds = sorted(ranked["round"].unique())
    setting = only(metrics, "setting")
    share = printed(setting, "figure4.{}.x") / printed(setting, "table2.{}.rounds")
    return int(rounds[-1] if math.isnan(share) else min(rounds, key=lambda t: abs(t - share * rounds[-1])))


def ranks(metrics: pd.DataFrame, x: int, share: float = 0.05) -> pd.DataFrame:
    """Ranks over time of the clients that were the top and the bottom `share` by estimated FIL at round `x`.

    Returns:
        KEYS, group (top, bottom), client, round, rank (1 = highest FIL; equal FIL shares the mean rank), clients.
    """
    rows = pick(metrics, "fil")
    rows = rows[rows["method"] == ranking_variant(metrics)]
    by = rows.groupby(["seed", "round"])["value"]
    rows = rows.assign(rank=by.rank(ascending=False), clients=by.transform("size"))
    rows["client"] = clients(rows["subject"])
    parts = []
    for seed, at in rows[rows["round"] == x].groupby("seed"):
        ordered = at.sort_values(["value", "client"])["client"].tolist()
        count = max(1, round(share * len(ordered)))
        for group, chosen in (("top", ordered[-count:]), ("bottom", ordered[:count])):
            chosen_rows = rows[(rows["seed"] == seed) & rows["client"].isin(chosen)]
            parts.append(chosen_rows.assign(group=group))
    columns = [*KEYS, "group", "client", "round", "rank", "clients"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
