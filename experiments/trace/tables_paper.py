"""The paper's Tables I, II and III and the numbers of section V-D, ours beside them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about, filled
from experiments.trace import blanks
from experiments.trace.figure_axis import draw as draw_over
from experiments.trace.figure_axis import numbers
from experiments.trace.reading import (
    ARCHITECTURES,
    DATA,
    IMAGES,
    METHODS,
    TEXTS,
    at,
    average,
    axes,
    chance,
    highest_accuracy,
    named,
    pick,
    points,
    printed,
    split_noise,
    split_task,
)

_TABLE1 = ("feddebug", "tracefl")
_THERE = {**dict.fromkeys(IMAGES, "densenet121"), **dict.fromkeys(TEXTS, "gpt")}
"""The model that the paper's Table I has for each data set."""


def table1(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table I: FedDebug and TraceFL on mispredictions, by data set and alpha.

    Its numbers stand beside ours by data set, whatever the model is: the table names none.
    """
    if "wrong" not in set(rows["scope"]):
        return None
    lines = [_faulty(rows, point) for point in points(rows[rows["scope"] == "wrong"])]
    frame = pd.DataFrame(lines)
    frame = frame.sort_values("place", kind="stable").drop(columns="place")
    caption = (
        "Table I: localization accuracy in % on mispredictions that a faulty client explains, mean over rounds and "
        "seeds; the paper's is of DenseNet-121 on images and of GPT on text. chance: naming a participant at random; "
        "accuracy: the global model's in its best round; without inputs: rounds that had no such misprediction. "
        "FedDebug takes images only."
    )
    return Artefact(name, filled(frame), None, caption, table_md=True, blanks=blanks.TABLE1)


def _faulty(rows: pd.DataFrame, point: str) -> dict[str, Any]:
    of_point = at(rows, point, "wrong")
    first = at(rows, point).iloc[0]
    architecture, data = split_task(str(first["task"]))
    more = [key for key in axes(rows) if key not in ("task", "alpha")]
    subject = f"task={_THERE.get(data, '')}_{data} alpha={first['alpha']} scope=wrong"
    counts = pick(of_point, "inputs", method="inputs")["value"]
    line: dict[str, Any] = {
        **about(of_point), "data": DATA.get(data, data or str(first["dataset"])),
        "model": ARCHITECTURES.get(architecture, str(first["model"])), "alpha": str(first["alpha"]),
        **{key: str(first[key]) for key in more},
        "accuracy": highest_accuracy(at(rows, point)),
        "chance": chance(of_point),
    }  # fmt: skip
    for method in _TABLE1:
        line[METHODS[method]] = average(pick(of_point, "localization", method=method))
        line[f"{METHODS[method]} (paper)"] = printed(str(first["setting"]), "mean:localization", method, subject)
    rank = list(DATA).index(data) if data in DATA else len(DATA)
    return line | {"rounds": len(counts), "without inputs": int((counts == 0).sum()), "place": rank}


def table2(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table II and Figure 4's settings: accuracy and localization under differential privacy."""
    if "dp" not in axes(rows):
        return None
    lines = []
    for point in points(rows):
        of_point = at(rows, point)
        noise, clip = split_noise(str(of_point["dp"].iloc[0]))
        head: dict[str, Any] = {
            "noise": noise,
            "sensitivity": clip,
            "alpha": average(pick(of_point, "config", key="alpha")),
        }
        spent = {metric: average(pick(of_point, metric)) for metric in ("epsilon", "epsilon_equal")}
        if math.isnan(noise):
            head = {"privacy": str(of_point["dp"].iloc[0]), **head}
        lines.append({**_point(rows, point, ("dp",)), **head, **_both(rows, point), **spent})
    caption = (
        "Table II: accuracy of the global model (best round) and localization accuracy of TraceFL (mean over rounds) "
        "under differential privacy, in %, averaged over seeds; chance: naming a participant at random. noise is the "
        "noise multiplier, sensitivity the clipping norm; epsilon: what the run spends, with the averaging weights as "
        "they were and (equal) as if clients weighed the same; none where the accountant gives no finite bound."
    )
    return Artefact(name, filled(pd.DataFrame(lines)), None, caption, table_md=True, blanks=blanks.TABLE2)


def table3(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table III: accuracy and localization over the number of clients."""
    return _over(rows, name, "clients", "Table III: by number of clients")


def per_round(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Section V-D: accuracy and localization over the number of participants of a round."""
    return _over(rows, name, "per_round", "Section V-D: by number of clients in a round")


def _over(rows: pd.DataFrame, name: str, axis: str, what: str) -> Artefact | None:
    if axis not in axes(rows):
        return None
    lines = []
    for point in points(rows):
        of_point = at(rows, point)
        left = {"clients left": average(pick(of_point, "config", key="clients"))}
        lines.append({**_point(rows, point), **left, **_both(rows, point)})
    caption = (
        f"{what}: accuracy of the global model (best round) and localization accuracy of TraceFL on correct "
        "predictions (mean over rounds) in %, averaged over seeds; chance: naming a participant at random; clients "
        "left: those with enough samples to take part."
    )
    measured = numbers(rows)
    draw = None if measured[axis].nunique() < 2 else lambda: draw_over(measured, axis)
    return Artefact(name, filled(pd.DataFrame(lines)), draw, caption, table_md=True, blanks=blanks.OVER)


def _point(rows: pd.DataFrame, point: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    first = at(rows, point).iloc[0]
    values = {key: str(first[key]) for key in axes(rows) if key not in without}
    if "task" in values:
        values["task"] = named("task", values["task"])
    return about(rows) | values


def _both(rows: pd.DataFrame, point: str) -> dict[str, Any]:
    """Accuracy, chance and TraceFL on correct predictions, the paper's beside them."""
    correct, setting = at(rows, point, "correct"), str(rows["setting"].iloc[0])
    localized = pick(correct, "localization", method="tracefl")
    return {
        "accuracy": highest_accuracy(at(rows, point)),
        "accuracy (paper)": printed(setting, "highest:accuracy", "global", point),
        "chance": chance(correct),
        "TraceFL": average(localized),
        "TraceFL (paper)": printed(setting, "mean:localization", "tracefl", f"{point} scope=correct"),
        "worst round": float(localized["value"].min()) if len(localized) else math.nan,
    }
