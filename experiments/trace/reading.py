"""Picking the numbers of tables and figures out of metrics.csv. No drawing here; frames in, frames out.

Subjects are read by `core.report.subjects`: a point of the setting's grid (task=gpt_dbpedia alpha=0.3), then the scope
of the predictions (correct, wrong) or the key of a configured value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pandas as pd

from experiments.core.estimators.method import labels
from experiments.core.estimators.provenance import TraceMethod
from experiments.core.report import reference, subjects
from experiments.core.report.artefacts import family as family
from experiments.core.report.style import with_formulas
from experiments.core.report.subjects import pick as pick
from experiments.core.report.tables import KEYS, arranged, over_seeds
from experiments.core.subject import words as words_of
from experiments.trace.spec import ORDER

WITHIN = ("scope", "key")
METHODS = {kind: with_formulas(label) for kind, label in labels(TraceMethod).items()} | {
    "leave_one_out": "leave-one-out truth"
}
"""Methods in the order of tables and figures; name -> label."""

SCOPES = {"correct": "correct predictions", "wrong": "mispredictions"}
ARCHITECTURES = {"resnet18": "ResNet-18", "densenet121": "DenseNet-121", "bert": "BERT", "gpt": "GPT"}
IMAGES = {"organamnist": "OrganAMNIST", "pathmnist": "PathMNIST", "cifar10": "CIFAR-10", "mnist": "MNIST"}
TEXTS = {"dbpedia": "DBpedia", "yahoo_answers": "Yahoo Answers"}
DATA = {**IMAGES, **TEXTS}
"""The paper's data sets in the order of Table I; name -> label."""

_PRINTED = reference.Printed(Path(__file__).with_name("reference.csv"), "tracefl")
_AXES = {"alpha": "alpha {}", "clients": "{} clients", "per_round": "{} per round"}


@cache
def references() -> tuple[reference.Reference, ...]:
    """The paper's numbers, findings before what stands behind them, the narrowest subject first."""
    return tuple(sorted(_PRINTED.rows.values(), key=lambda row: (row.kind != "result", -len(row.subject))))


def printed(setting: str, metric: str, method: str, subject: str) -> float:
    """The number that `setting` has in print for one point of its grid; NaN if there is none.

    Averages over several points are no number of one of them: a reference counts if its subject names a point, or if
    `subject` has none.
    """
    of_a_point = _names_a_point(subject)
    for row in references():
        same = (row.setting, row.metric, row.method) == (family(setting), metric, method)
        fits = same and fnmatchcase(subject, row.subject or "*") and _names_a_point(row.subject) >= of_a_point
        if fits and row.number is not None:
            return row.number
    return math.nan


def _names_a_point(subject: str) -> bool:
    """Whether a subject or a pattern of subjects holds a word of the grid with one value, which is no wildcard."""
    words = [word.lstrip("*").partition("=") for word in subject.split(" ")]
    return any(value and key not in WITHIN and not set("*[") & set(value) for key, _, value in words)


stated = _PRINTED.number
"""The paper's number `tracefl.<key>`; NaN if there is none."""


def parse(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv with a column for every key of their subjects, and `point`."""
    return subjects.parse(metrics, ORDER, WITHIN)


def axes(rows: pd.DataFrame) -> list[str]:
    """The axes of the grid in `rows`, in the order of results."""
    return subjects.axes(rows, ORDER)


def scopes(rows: pd.DataFrame) -> list[str]:
    """The scopes in `rows`: correct before wrong."""
    present = set(rows["scope"]) - {""}
    return [scope for scope in SCOPES if scope in present] + sorted(present - set(SCOPES))


def main_scope(rows: pd.DataFrame) -> str:
    """The scope that a setting is about: mispredictions where clients are faulty, else correct predictions."""
    present = scopes(pick(rows, "inputs"))
    return "wrong" if "wrong" in present else present[0] if present else ""


def methods(rows: pd.DataFrame) -> list[str]:
    """The methods in `rows`, in the order of METHODS."""
    present = set(rows["method"])
    return [method for method in METHODS if method in present]


def average(rows: pd.DataFrame, how: str = "mean") -> float:
    """Over the rounds of a seed `how` ("mean", "max"), then the mean over seeds; NaN without rows.

    As the paper does: every round counts the same, however many inputs it has; a round without inputs does not count.
    """
    return float(over_seeds(rows, ["setting"], how)["mean"].iloc[0]) if len(rows) else math.nan


def highest_accuracy(rows: pd.DataFrame) -> float:
    """Accuracy of the global model in its best round, which is what the paper prints; NaN without any."""
    return average(pick(rows, "accuracy", method="global"), "max")


def chance(rows: pd.DataFrame) -> float:
    """The accuracy of naming a participant at random; NaN without any."""
    return average(pick(rows, "chance", method="chance"))


def at(rows: pd.DataFrame, point: str, scope: str = "") -> pd.DataFrame:
    """The rows of one point, and of one scope if any is named."""
    of_point = rows[rows["point"] == point]
    return of_point[of_point["scope"] == scope] if scope else of_point


def points(rows: pd.DataFrame) -> list[str]:
    """The points in `rows`, in order: tasks by architecture and data set, numbers by size."""
    firsts = rows.drop_duplicates("point")
    names = axes(firsts)
    key = [tuple(_place(str(row[name])) for name in names) for _, row in firsts.iterrows()]
    return [point for _, point in sorted(zip(key, firsts["point"], strict=True))]


def ordered(values: Iterable[str]) -> list[str]:
    """`values` by number; tasks by architecture and data set; noise by its size; others by name."""
    return sorted(values, key=_place)


def by_place(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`frame` in the order of `columns`: methods and scopes in their own order, numbers by size."""
    return arranged(frame, columns, ordered, {"method": list(METHODS), "scope": list(SCOPES)})


def _place(value: str) -> tuple[int, float, float, str]:
    architecture, data = split_task(value)
    if architecture:
        rank = list(DATA).index(data) if data in DATA else len(DATA)
        return (1, float(list(ARCHITECTURES).index(architecture)), float(rank), value)
    noise, clip = split_noise(value)
    if not math.isnan(noise):
        return (3, -1.0 if math.isnan(clip) else clip, noise, value)
    try:
        return (2, float(value), 0.0, value)
    except ValueError:
        return (0, 0.0, 0.0, value)


def split_task(task: str) -> tuple[str, str]:
    """("densenet121", "cifar10") of "densenet121_cifar10"; ("", task) where no known architecture comes first."""
    first, _, rest = task.partition("_")
    return (first, rest) if first in ARCHITECTURES and rest else ("", task)


def split_noise(name: str) -> tuple[float, float]:
    """(noise multiplier, clipping norm) of "noise0.003_clip15"; (0, NaN) of "none"; NaNs of anything else."""
    match = re.fullmatch(r"noise([\d.]+(?:e-?\d+)?)_clip([\d.]+)", name)
    if match:
        return float(match[1]), float(match[2])
    return (0.0 if name == "none" else math.nan), math.nan


def named(key: str, value: str) -> str:
    """A value of an axis in words: "GPT, DBpedia", "alpha 0.3", "noise 0.003, clip 15"."""
    if key == "task":
        architecture, data = split_task(value)
        return ", ".join(filter(None, [ARCHITECTURES.get(architecture, ""), DATA.get(data, data)]))
    if key == "dp":
        noise, clip = split_noise(value)
        return "no privacy" if value == "none" else value if math.isnan(clip) else f"noise {noise:g}, clip {clip:g}"
    return _AXES.get(key, f"{key} {{}}").format(value)


def point_words(point: str) -> str:
    """A point of the grid in words."""
    return ", ".join(named(key, value) for key, value in words_of(point).items())


def panel_words(rows: pd.DataFrame, point: str) -> str:
    """The title of a panel: the point, or model and data without one; a subset of the data is said to be one.

    A task stands on a line of its own.

    Args:
        rows: those of the point, with the columns model and dataset. point: as in column `point`.
    """
    dataset, model = str(rows["dataset"].iloc[0]), str(rows["model"].iloc[0])
    data, words = dataset.removesuffix("_csv").removesuffix("_subset"), [w for w in point.split(" ") if w]
    tasks = [word for word in words if word.startswith("task=")]
    others = [word for word in words if word not in tasks]
    head = (
        point_words(tasks[0])
        if tasks
        else ""
        if others
        else f"{ARCHITECTURES.get(model, model)}, {DATA.get(data, data)}"
    )
    head += " (subset)" if head and "_subset" in dataset else ""
    return "\n".join(filter(None, [head, point_words(" ".join(others))]))


def tidy(rows: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The columns that a figure publishes: KEYS, axes, data set, model, method, metric, scope, `more`, value."""
    columns = [*KEYS, *axes(rows), "dataset", "model", "method", "metric", "scope", *more, "value"]
    return rows[list(dict.fromkeys(columns))].drop_duplicates().reset_index(drop=True)
