"""Tables 1 and 2, the correlations and the cleansing of Xue et al. 2021, the paper's numbers beside ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.influence import blanks, figure_cost
from experiments.influence.reading import LABELS, cleansing, exponent, only, printed, printed_text, variants

WAYS = ("naive 1", "naive 2", "ours")
COSTS = {"server": "server", "client": "client", "upload": "comm"}
AXES = ("p", "K", "m", "Ns")
SCORES = ("pearson_fil", "spearman_fil", "pearson_fia", "spearman_fia")
_SETUP = ("model", "dataset", "partition", "lr", "clients", "clients_per_round", "local_iterations", "rounds",
          "gradients_per_iteration")  # fmt: skip


def table1(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Extra cost of the three ways: the paper's formula, what was measured, and the powers of growth."""
    grid = figure_cost.growth(metrics)
    if grid.empty:
        return None
    first = _first(grid)
    rows = [_cost(grid, first, way, cost) for way in WAYS for cost in COSTS]
    frame = _labelled(metrics, rows)
    caption = (
        "Extra cost of one round. Measured: mean over seeds at the first value of every list, which stands in `at`. "
        "The power of growth in each of p, K, m and Ns is the slope of log cost over log size, the others held; "
        "beside it the slope of the paper's formula over the same sizes."
    )
    return Artefact(name, frame, lambda: figure_cost.draw(grid), caption, table_md=True, blanks=blanks.COST)


def _cost(grid: pd.DataFrame, first: dict[str, float], way: str, cost: str) -> dict[str, Any]:
    of_cost = grid[(grid["method"] == way) & (grid["cost"] == cost)]
    row: dict[str, Any] = {
        "way": way, "cost": cost, "formula": printed_text("", f"table1.{way.replace(' ', '')}.{COSTS[cost]}"),
        "at": " ".join(f"{axis}={int(first[axis])}" for axis in AXES if axis in first),
        "measured": float(of_cost[of_cost["size"] == of_cost["axis"].map(first)]["measured"].mean()),
        "unit": only(of_cost, "unit"),
    }  # fmt: skip
    for axis in AXES:
        along = of_cost[of_cost["axis"] == axis]
        for column, values in ((axis, along["measured"]), (f"{axis} (formula)", along["formula"])):
            row[column] = round(exponent(along["size"].tolist(), values.tolist()), 2) + 0.0  # no -0.0
    return row


def _first(grid: pd.DataFrame) -> dict[str, float]:
    """Axis -> the size held while others are walked: where the one formula with all four sizes agrees on all axes."""
    server_costs = grid[(grid["method"] == "ours") & (grid["cost"] == "server")]
    shared = server_costs["formula"].mode().iloc[0]
    at = server_costs[server_costs["formula"] == shared].drop_duplicates("axis")
    return dict(zip(at["axis"], at["size"], strict=True))


def table2(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """The configuration as run, and the paper's."""
    config = metrics[metrics["metric"] == "config"].drop_duplicates("subject")
    if config.empty:
        return None
    setting = only(metrics, "setting")
    run = metrics[metrics["metric"] == "config"].iloc[0]
    ours: dict[str, Any] = {c: str(run[c]) for c in ("model", "dataset", "partition")}
    ours |= {words(text)["key"]: float(value) for text, value in zip(config["subject"], config["value"], strict=True)}
    keys = {key: "distribution" if key == "partition" else key for key in _SETUP}
    paper = {key: printed_text(setting, f"table2.{{}}.{paper_key}") for key, paper_key in keys.items()}
    paper["counted"] = printed_text(setting, "figure3.{}.clients_counted")
    order = [*_SETUP, *sorted(set(ours) - set(_SETUP))]
    rows = [{"name": key, "as run": _plain(ours[key]), "paper": paper.get(key, "")} for key in order if key in ours]
    caption = "The configuration as run beside the paper's Table 2."
    return Artefact(name, _labelled(metrics, rows), caption=caption, table_md=True, blanks=blanks.CONFIGURATION)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def correlations(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Final correlations of estimate and truth by variant: each seed with its interval, and the mean over seeds."""
    rows = metrics[metrics["metric"].isin([f"{s}{end}" for s in SCORES for end in ("", "_low", "_high")])]
    final = rows[rows["round"] == rows.groupby("seed")["round"].transform("max")]
    lines: list[dict[str, Any]] = []
    for variant in variants(final):
        for score in SCORES:
            lines += _correlation(final[final["method"] == variant], variant, score)
    if not lines:
        return None
    caption = (
        "Correlation of estimated and exact influence over the counted clients in the last round. low, high: 95 % "
        "interval over clients; sd: standard deviation over seeds. An empty value is undefined (all estimates equal)."
    )
    return Artefact(name, _labelled(metrics, lines), caption=caption, table_md=True, blanks=blanks.CORRELATIONS)


def _correlation(rows: pd.DataFrame, variant: str, score: str) -> list[dict[str, Any]]:
    scored = rows[rows["metric"] == score]
    if scored.empty:
        return []
    values = scored["value"].astype(float)
    # The paper prints Pearson of FIL, for its full method in every setting.
    paper = (
        printed(only(rows, "setting"), "figure3.{}.pearson")
        if (score, variant) == ("pearson_fil", "lwet_fisher")
        else math.nan
    )
    measure, _, of = score.partition("_")
    over_seeds: dict[str, Any] = {
        "variant": LABELS[variant], "score": f"{measure} {of.upper()}", "seed": "mean",
        "value": float(values.mean(skipna=False)), "low": math.nan, "high": math.nan,
        "sd": float(values.std(ddof=1, skipna=False)) if len(values) > 1 else math.nan,
        "clients": int(scored["n"].iloc[0]), "round": int(scored["round"].iloc[0]), "paper": paper,
    }  # fmt: skip
    each = []
    for seed in sorted(scored["seed"].unique()):
        at = rows[rows["seed"] == seed].set_index("metric")["value"]
        values_of_seed = {"seed": f"{seed:g}", "value": float(at[score]), "sd": math.nan}
        each.append(
            over_seeds | values_of_seed | {end: float(at.get(f"{score}_{end}", math.nan)) for end in ("low", "high")}
        )
    return [over_seeds, *each]


def cleansed(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Test accuracy before and after cleansing: at the paper's share, and at the share that was best for us."""
    rows = cleansing(metrics)
    rows = rows[(rows["metric"] == "accuracy") & (rows["share"] > 0)]
    if rows.empty:
        return None
    setting, lines = only(metrics, "setting"), []
    paper_share = printed(setting, "figure4.{}.removed_share") / 100
    for order in ("highest FIA", "lowest FIL", "random"):
        of_order = rows[rows["order"] == order]
        mean = of_order.groupby("share")["change"].mean()
        shares = {"paper's": paper_share} if np.isclose(mean.index, paper_share).any() else {}
        if len(mean):
            shares["best of ours"] = float(mean.index[int(mean.to_numpy().argmax())])
        for what, share in shares.items():
            lines += _cleansed(of_order[np.isclose(of_order["share"], share)], setting, what, order)
    caption = (
        "Test accuracy in % in the last round, with nobody removed (before) and with a share of the clients removed "
        "after round x (after). highest FIA and lowest FIL are the least valuable clients. `best of ours` is picked on "
        "the same test set, so it flatters. The paper does not say by which influence it ranked."
    )
    return Artefact(name, _labelled(metrics, lines), caption=caption, table_md=True, blanks=blanks.CLEANSING)


def _cleansed(rows: pd.DataFrame, setting: str, what: str, order: str) -> list[dict[str, Any]]:
    same = what == "paper's" and order != "random"
    before, after = (printed(setting, f"figure4.{{}}.accuracy_{w}") if same else math.nan for w in ("before", "after"))
    mean = rows[["before", "value", "change"]].mean()
    lines = [("mean", mean), *((str(int(r["seed"])), r) for _, r in rows.sort_values("seed").iterrows())]
    return [
        {"removed": order, "share": what, "removed %": 100 * float(rows["share"].iloc[0]), "seed": seed,
         "before": float(r["before"]), "after": float(r["value"]), "change": float(r["change"]),
         "paper before": before, "paper after": after, "paper change": after - before}
        for seed, r in lines
    ]  # fmt: skip


def _labelled(metrics: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """`rows` as a frame that says first of which setting and scale it is."""
    return pd.DataFrame([{**about(metrics), **row} for row in rows])
