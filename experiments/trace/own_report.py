"""The result of tracing a recorded round, as rows, as JSON and as CSV."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from experiments.core.recorded.run_file import RUN_FILE
from experiments.core.sweep.rows import to_csv
from experiments.trace.own_trace import GAP, Traced

_EQUAL = f"no numbers of samples are known: all clients count the same (add `sizes` to {RUN_FILE})"
_GAP = (
    "the global model is not the weighted mean of these clients (off by {:.0%} of their mean update): wrong sizes, "
    "noise, states saved in low precision, or another aggregation than FedAvg's, which the change without a client "
    "assumes"
)

LEGEND = {
    "T": "the client's weights on what the global model feeds them, weighed by the gradient of the predicted logit, "
    "summed over layers; most of it is common to all clients",
    "above mean": "T less the clients' mean; the ranking is by it",
    "score": "softmax of T over the clients of the round; it saturates at 0 and 1",
    "change without": "of the predicted logit, to first order, had the client been left out of the round; negative: it "
    "holds the prediction up",
}
"""Explanations of the columns whose names are not clear by themselves."""


def notes(traced: Traced) -> list[str]:
    """Remarks that qualify the numbers."""
    remarks = [*traced.remarks, *([] if traced.round.sizes else [_EQUAL])]
    return remarks + [_GAP.format(traced.gap)] * (traced.gap > GAP)


def ranking(traced: Traced, i: int) -> list[dict[str, Any]]:
    """The clients, most responsible for prediction i first (by T_k; ties in the order of the participants).

    Each with its samples, the normalised score, T_k, how far that is above the clients' mean, and the first-order
    change of the predicted logit had the client been left out of the round.
    """
    raw = traced.raw[i]
    order = raw.argsort(descending=True, stable=True).tolist()
    recorded, sizes = traced.round, traced.round.sizes
    return [
        {
            "rank": rank,
            "client": recorded.files.clients[k],
            **({"name": recorded.names[k]} if recorded.described.spec.clients else {}),
            "samples": sizes[k] if sizes else None,
            "score": float(traced.score[i, k]),
            "T": float(raw[k]),
            "above_mean": float(raw[k] - raw.mean()),
            "change_without": float(traced.change[i, k]) + 0.0,  # no -0
        }
        for rank, k in enumerate(order, 1)
    ]


def table(traced: Traced, i: int, top: int) -> list[dict[str, Any]]:
    """The first `top` of `ranking` for the screen: without the column of sample counts where these are not known."""
    rows = [{k.replace("_", " "): v for k, v in row.items()} for row in ranking(traced, i)[:top]]
    return [{k: v for k, v in row.items() if k != "samples" or traced.round.sizes} for row in rows]


def prediction(traced: Traced, i: int) -> dict[str, Any]:
    """The global model's prediction for input i, and the true class where it is known."""
    label = None if traced.labels is None else int(traced.labels[i])
    predicted = int(traced.predicted[i])
    return {
        "input": i,
        "predicted": class_name(traced, predicted),
        "logit": float(traced.logit[i]),
        "label": None if label is None else class_name(traced, label),
        "right": None if label is None else label == predicted,
    }


def class_name(traced: Traced, label: int) -> str | int:
    """The name of a class in run.yaml, or else its number."""
    names = traced.round.described.spec.labels
    return names[label] if names else label


def firsts(traced: Traced) -> list[tuple[str, int]]:
    """(client, number of inputs for which it ranks first), most often first; its id too where a name occurs twice."""
    counts, names, ids = Counter(traced.raw.argmax(1).tolist()), traced.round.names, traced.round.files.clients
    shown = [name if names.count(name) == 1 else f"{name} ({key})" for name, key in zip(names, ids, strict=True)]
    return [(shown[k], n) for k, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def as_json(traced: Traced) -> dict[str, Any]:
    """Everything, as plain values."""
    recorded = traced.round
    clients = [
        {
            "client": key,
            "name": name,
            "samples": recorded.sizes[k] if recorded.sizes else None,
            "share": float(recorded.shares[k]),
        }
        for k, (key, name) in enumerate(zip(recorded.files.clients, recorded.names, strict=True))
    ]
    inputs = [{**prediction(traced, i), "clients": ranking(traced, i)} for i in range(len(traced.raw))]
    choices = asdict(traced.choices)
    return {
        "round": recorded.files.index,
        "choices": choices,
        "notes": notes(traced),
        "clients": clients,
        "inputs": inputs,
    }


def as_csv(traced: Traced) -> str:
    """One row an input and client."""
    rows = [{**prediction(traced, i), **row} for i in range(len(traced.raw)) for row in ranking(traced, i)]
    return to_csv(rows, list(rows[0]))
