"""What each client is worth, by its own private scores and by training without it: table and figure by client."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from experiments.core.names import natural
from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about, filled, over_seeds
from experiments.core.subject import words
from experiments.vog import figure_rewards
from experiments.vog.reading import METHODS, PAPERS, methods, ordered, pick

EXACT = "exact"
BASELINES = {"size": "samples", "norm": "norm of the update", "cosine": "cosine of the update"}
"""What a server knows without any score; word -> name."""

NAMES = {**METHODS, **BASELINES}
_ABOUT_CLIENTS = (
    "A client's reward is the mean of its samples' scores, scaled to [0, 1] within each class by the range of the "
    "server's own test samples; exact, and as released with (eps, 0) privacy for one sample of the client. The truth "
    "is the change of the mean test loss when the client is left out of training, in nats: positive where it helped. "
    "Means over seeds."
)


def rewards(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Reward and truth of every client: the CSV has every score, release and range over seeds."""
    told = pick(rows, ["reward", "client_truth"])
    if told.empty:
        return None
    by = ["point", "client", "metric", "method", "release"]
    frame = over_seeds(told, by).rename(columns={"mean": "value"})
    frame = frame.assign(samples=_of_client(frame, _sizes(rows)), fault=_of_client(frame, faults(rows)))
    frame = _arranged(_with_axes(frame))
    columns = [*_axes(frame), "client", "fault", "samples", "metric", "method", "release", "value", "low", "high"]
    whole = frame[[*columns, "seeds"]].assign(**about(rows))[[*about(rows), *columns, "seeds"]]
    blanks = {"fault": "the client's data are as they came"}
    return Artefact(
        name, whole, partial(figure_rewards.draw, frame), _ABOUT_CLIENTS, table_md=True, excerpt=_by_client(frame),
        blanks=blanks,
    )  # fmt: skip


def correlations(rows: pd.DataFrame, name: str) -> Artefact | None:
    """How well each reward ranks the clients by their worth, beside null worlds and another seed's truth."""
    told = pick(rows, [f"reward_spearman{suffix}" for suffix in ("", "_low", "_high")] + ["reward_kept"])
    if told.empty:
        return None
    by = ["point", "method", "release", "n"]
    each = over_seeds(told, [*by, "metric"])
    wide = each.pivot_table("mean", by, "metric", "first", sort=False).reset_index().rename_axis(columns=None)
    ends = each[each["metric"] == "reward_spearman"].set_index(by)
    wide = wide.join(ends[["low", "high", "seeds"]].add_suffix("_of_seeds"), on=by)
    wide = wide.rename(columns={
        "reward_spearman": "spearman", "reward_spearman_low": "low", "reward_spearman_high": "high",
        "low_of_seeds": "least seed", "high_of_seeds": "greatest seed", "seeds_of_seeds": "seeds",
        "reward_kept": "with exact",
    })  # fmt: skip
    floors = (("ceiling_spearman", "ceiling"), ("truth_spread", "truth spread"), ("null_spread", "null spread"))
    for metric, column in floors:
        wide[column] = wide["point"].map(_mean_by_point(rows, metric))
    frame = filled(_arranged(_with_axes(wide)).drop(columns="point"))
    axes = [c for c in _axes(_with_axes(wide)) if c in frame]
    first = [*axes, "method", "release", "n", "spearman", "low", "high", "least seed", "greatest seed", "seeds"]
    frame = frame[[*first, *(c for c in frame if c not in first)]]
    caption = (
        "Spearman's correlation over n clients of each reward with what leaving the client out of training does to the "
        "mean test loss: mean over seeds of it and of its 95 % interval [low, high] (Bonett and Wright 2000), least "
        "and greatest seed. ceiling: the same of the truth with the next seed's truth, the most that any reward can "
        "reach. truth spread, null spread: deviation of the truth over clients, and of trainings that leave nobody out "
        "but start from weights moved by rounding [nats]. with exact: of the private reward with the one without noise."
    )
    blanks = {"with exact": "it is the exact one, or a baseline", "ceiling": "not trained"}
    whole = frame.assign(**about(rows))[[*about(rows), *frame.columns]]
    shown = frame.assign(method=frame["method"].map(lambda m: NAMES.get(m, m)))
    return Artefact(name, whole, None, caption, table_md=True, excerpt=shown, blanks=blanks)


def faults(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(point, client) -> what is wrong with its data."""
    told = pick(rows, "client_fault")
    return dict(zip(zip(told["point"], told["client"], strict=True), told["fault"], strict=True)) if len(told) else {}


def _sizes(rows: pd.DataFrame) -> dict[tuple[str, str], int]:
    told = pick(rows, "client_truth")
    return {(p, c): int(n) for p, c, n in zip(told["point"], told["client"], told["n"], strict=True)}


def _of_client(frame: pd.DataFrame, values: dict[tuple[str, str], Any]) -> list[Any]:
    return [values.get((point, client), "") for point, client in zip(frame["point"], frame["client"], strict=True)]


def _mean_by_point(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    told = pick(rows, metric, truth="client")
    return {} if told.empty else dict(told.groupby("point")["value"].mean())


def _axes(frame: pd.DataFrame) -> list[str]:
    """The keys of the points in `frame`."""
    return list(dict.fromkeys(key for point in frame["point"] for key in words(point)))


def _with_axes(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column for each key of its points."""
    return frame.assign(**{key: [words(point).get(key, "") for point in frame["point"]] for key in _axes(frame)})


def _arranged(frame: pd.DataFrame) -> pd.DataFrame:
    """In the order of points, clients, scores, releases."""

    def rank(column: pd.Series) -> pd.Series:
        values = column.unique()
        if column.name == "method":
            order = [*methods([m for m in values if m not in BASELINES]), *BASELINES]
        else:
            order = sorted(values, key=natural) if column.name == "client" else ordered(values)
        return column.map({value: place for place, value in enumerate(order)})

    columns = [*_axes(frame), *(c for c in ("client", "metric", "method", "release") if c in frame)]
    return frame.sort_values(columns, key=rank, kind="stable", ignore_index=True)


def _by_client(frame: pd.DataFrame) -> pd.DataFrame:
    """A line a client: its fault, its samples, the truth, and of the paper's scores the exact and private rewards."""
    lines = [_line(key, part) for key, part in frame.groupby(["point", "client"], sort=False)]
    return filled(pd.DataFrame(lines))


def _line(key: tuple[str, str], part: pd.DataFrame) -> dict[str, Any]:
    point, client = key
    line: dict[str, Any] = {**words(point), "client": client}
    line |= {"fault": part["fault"].iloc[0], "samples": part["samples"].iloc[0]}
    line |= {"truth [nats]": float(part[part["metric"] == "client_truth"]["value"].iloc[0])}
    return line | dict(_shown(part[part["metric"] == "reward"]))


def _shown(part: pd.DataFrame) -> Iterator[tuple[str, float]]:
    told = [m for m in PAPERS if m in set(part["method"])] or [m for m in part["method"].unique() if m in METHODS]
    for method in told:
        of = part[part["method"] == method]
        for release, value in zip(of["release"], of["value"], strict=True):
            yield NAMES[method] + ("" if release == EXACT else f", eps {release}"), float(value)
