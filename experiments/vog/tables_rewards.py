"""What each client is worth, by its own private scores and by training without it: table and figure by client."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, filled, over_seeds
from experiments.vog import figure_rewards
from experiments.vog.reading import METHODS, axes, by_place, pick

EXACT = "exact"
BASELINES = {"size": "samples", "norm": "norm of the update", "cosine": "cosine of the update"}
"""What a server knows without any score; word -> name."""

NAMES = {**METHODS, **BASELINES}
_BY_CLIENT = (
    "A client's reward is the mean of its samples' scores, scaled to [0, 1] within each class by the range of samples "
    "that the server owns; exact, and as released with (eps, 0) privacy for each sample of the client. The truth is "
    "the change of the mean test loss when the client is left out of training, in nats: positive where it helped. "
    "Means over seeds."
)
_CORRELATIONS = (
    "Spearman's correlation over n clients of each reward with what leaving the client out of training does to the "
    "mean test loss: mean over seeds of it and of its 95 % interval [low, high] (Bonett and Wright 2000), least and "
    "greatest seed. with exact: of the private reward with the one without noise. ceiling: of the truth with the next "
    "seed's truth, the most that a reward can reach. truth spread, null spread: standard deviation of the truth over "
    "clients, and how far the loss moves when nobody is left out but weights start moved by rounding [nats]. epsilon "
    "in all: what training and the release of this one reward spend together (basic composition)."
)


def rewards(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Reward and truth of every client: the CSV has every score, release and range over seeds."""
    told = pick(rows, ["reward", "client_truth"])
    if told.empty:
        return None
    known = [*ABOUT, *axes(rows), "point", "client"]
    frame = over_seeds(told, [*known, "metric", "method", "release"]).rename(columns={"mean": "value"})
    of = list(zip(frame["point"], frame["client"], strict=True))
    frame["samples"] = [_sizes(rows).get(key) for key in of]
    frame["fault"] = [_faults(rows).get(key, "") for key in of]
    frame = by_place(frame, [*axes(rows), "client", "metric", "method", "release"])
    columns = [*ABOUT, *axes(rows), "client", "fault", "samples", "metric", "method", "release", "value", "low", "high"]
    draw = partial(figure_rewards.draw, frame)
    excerpt = filled(pd.DataFrame([_line(part, axes(rows)) for _, part in frame.groupby(known, sort=False)]))
    blanks = {"fault": "the client's data are as they came"}
    whole = frame[[*columns, "seeds"]]
    return Artefact(name, whole, draw, _BY_CLIENT, table_md=True, excerpt=excerpt, blanks=blanks)


def correlations(rows: pd.DataFrame, name: str) -> Artefact | None:
    """How well each reward ranks the clients by their worth, beside null worlds and another seed's truth."""
    wanted = {"reward_spearman": "spearman", "reward_spearman_low": "low", "reward_spearman_high": "high",
              "reward_kept": "with exact"}  # fmt: skip
    told = pick(rows, list(wanted))
    if told.empty:
        return None
    by = [*ABOUT, *axes(rows), "point", "method", "release"]
    each = over_seeds(told, [*by, "metric"])
    frame = each.pivot_table("mean", by, "metric", "first", sort=False).rename(columns=wanted)
    ends = each[each["metric"] == "reward_spearman"].set_index(by)
    frame = frame.assign(n=told.groupby(by)["n"].min())
    frame = frame.assign(**{"least seed": ends["low"], "greatest seed": ends["high"], "seeds": ends["seeds"]})
    frame = frame.reset_index().rename_axis(columns=None)
    for metric in ("ceiling_spearman", "truth_spread", "null_spread"):
        means = pick(rows, f"client_{metric}").groupby("point")["value"].mean()
        frame[metric.removesuffix("_spearman").replace("_", " ")] = frame["point"].map(means)
    spent = pick(rows, "epsilon", method="privacy").groupby("point")["value"].mean()
    frame["epsilon in all"] = frame["point"].map(spent) + pd.to_numeric(frame["release"], errors="coerce")
    frame = filled(by_place(frame, [*axes(rows), "method", "release"]).drop(columns="point"))
    first = [*ABOUT, *axes(rows), "method", "release", "n", "spearman", "low", "high", "least seed", "greatest seed"]
    frame = frame[[*first, *(c for c in frame if c not in first)]]
    blanks = {"with exact": "it is the exact one, or a baseline", "epsilon in all": "training or reward is not private"}
    shown = frame.drop(columns=ABOUT).assign(method=frame["method"].map(lambda m: NAMES.get(m, m)))
    return Artefact(name, frame, None, _CORRELATIONS, table_md=True, excerpt=shown, blanks=blanks)


def _faults(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(point, client) -> what is wrong with its data."""
    told = pick(rows, "client_fault")
    return {(p, c): fault for p, c, fault in zip(told["point"], told["client"], told["fault"], strict=True)}


def _sizes(rows: pd.DataFrame) -> dict[tuple[str, str], int]:
    """(point, client) -> its training samples."""
    told = pick(rows, "client_truth")
    return {(p, c): int(n) for p, c, n in zip(told["point"], told["client"], told["n"], strict=True)}


def _line(part: pd.DataFrame, keys: list[str]) -> dict[str, Any]:
    """One client: its fault, its samples, the truth, and of the paper's scores the exact and private rewards."""
    first, truth = part.iloc[0], part[part["metric"] == "client_truth"]["value"]
    line = {key: first[key] for key in [*keys, "client", "fault", "samples"]}
    line["truth [nats]"] = float(truth.iloc[0]) if len(truth) else None
    return line | dict(_shown(part[part["metric"] == "reward"]))


def _shown(part: pd.DataFrame) -> Iterator[tuple[str, float]]:
    for method in figure_rewards.shown(part):
        of = part[part["method"] == method]
        for release, value in zip(of["release"], of["value"], strict=True):
            yield NAMES[method] + ("" if release == EXACT else f", eps {release}"), float(value)
