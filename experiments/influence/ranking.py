"""The clients ranked: what leaving each out really does to the model, and what the estimator says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.subjects import clients
from experiments.core.report.tables import about
from experiments.influence.reading import LABELS, last, pick, ranking_variant

_ENDS = 5
"""Clients shown from either end of a long ranking."""

_KEY = (
    "Change when the client is left out of all rounds: a positive change of loss means that it helped (without it the "
    "test loss is higher), a negative one that it did harm; accuracy in points, the other way round."
)
_VALUES = {"loss": "change of loss", "accuracy": "change of accuracy", "estimate": "estimated change of loss"}


def ranking(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Every counted client in the last round, sorted by the exact change of loss; both ends where there are many.

    The mean over seeds where all seeds have the same clients, else each seed's own: a partition that draws anew deals
    other samples to the client of the same number.
    """
    variant = ranking_variant(metrics)
    values = _values(metrics, variant)
    if values.empty:
        return None
    held = metrics[metrics["metric"].isin(["client_size", "label_count"])]
    sizes = held[held["metric"] == "client_size"]
    if values["seed"].nunique() > 1 and _same(held):
        parts = [_ranked(values, sizes, "mean")]
    else:
        each = values.groupby("seed", sort=True)
        parts = [_ranked(of_seed, sizes[sizes["seed"] == seed], f"{seed:g}") for seed, of_seed in each]
    frame, excerpt = (pd.concat(some, ignore_index=True) for some in (parts, [_ends(part) for part in parts]))
    for one in (frame, excerpt):
        for position, (column, value) in enumerate(about(metrics).items()):
            one.insert(position, column, value)
    caption = (
        "Clients by the exact change of the test loss in the last round. "
        + (f"Estimated by {LABELS[variant]}. " if variant else "No estimate: every variant left the finite numbers. ")
        + (f"The first and the last {_ENDS}; the CSV has all. " if len(excerpt) < len(frame) else "")
        + ("Means over the seeds that counted the client." if "mean" in set(frame["seed"]) else "")
    )
    short = excerpt if len(excerpt) < len(frame) else None
    return Artefact(name, frame, caption=caption.strip(), table_md=True, excerpt=short, key=_KEY)


def _values(metrics: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Columns seed, subject, loss, accuracy (exact) and estimate of the counted clients in the last round."""
    rows = last(pick(metrics, ["fil", "fia"]))
    wanted = {("exact", "fil"): "loss", ("exact", "fia"): "accuracy", (variant, "fil"): "estimate"}
    parts = [
        rows[(rows["method"] == method) & (rows["metric"] == metric)].set_index(["seed", "subject"])["value"].rename(to)
        for (method, metric), to in wanted.items()
    ]
    return parts[0].to_frame().join(parts[1:], how="left").reset_index()


def _same(held: pd.DataFrame) -> bool:
    """Whether the clients hold the same number of samples of every label in all seeds."""
    by = held.pivot_table(index=["metric", "subject"], columns="seed", values="value")
    return bool(len(by)) and bool(by.notna().all(axis=None)) and bool(np.ptp(by.to_numpy(), axis=1).max() == 0)


def _ranked(values: pd.DataFrame, sizes: pd.DataFrame, seed: str) -> pd.DataFrame:
    """One ranking: a client a row, the most helpful first; equal changes share the mean rank."""
    averaged = values.groupby("subject", sort=False).agg(
        **{column: (column, "mean") for column in ("loss", "accuracy", "estimate")}, seeds=("subject", "size")
    )
    averaged["samples"] = sizes.drop_duplicates("subject").set_index("subject")["value"]
    averaged = averaged.reset_index()
    averaged["client"] = clients(averaged["subject"])
    columns: dict[str, Any] = {
        "seed": seed, "rank": averaged["loss"].rank(ascending=False), "client": averaged["client"],
        "samples": averaged["samples"].astype("Int64"),
        **{label: averaged[column] for column, label in _VALUES.items()},
        "estimated rank": averaged["estimate"].rank(ascending=False),
        **({"seeds": averaged["seeds"]} if seed == "mean" else {}),
    }  # fmt: skip
    return pd.DataFrame(columns).sort_values(["rank", "client"], ignore_index=True)


def _ends(ranked: pd.DataFrame) -> pd.DataFrame:
    return ranked if len(ranked) <= 2 * _ENDS + 2 else pd.concat([ranked.head(_ENDS), ranked.tail(_ENDS)])
