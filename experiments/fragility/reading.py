"""Picking the numbers of tables and figures out of metrics.csv. No drawing here; frames in, frames out.

A subject is `key=value` words: first the point of the setting's grid (depth=3 wd=0.005), then what is measured there
(test=max set=top). Read, every key is a column of text, "" where a row has none, and `point` is the first part whole.
A key that names a column of metrics.csv gets an underscore (`method_`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from experiments.core.estimators.inverse_hessian import HessianMethod
from experiments.core.estimators.method import labels
from experiments.core.report import subjects
from experiments.core.report.artefacts import family as family
from experiments.core.report.reference import Printed
from experiments.core.report.subjects import pick as pick
from experiments.core.report.tables import KEYS, arranged
from experiments.core.subject import words as words_of

GRID = ("activation", "depth", "width", "arch", "wd", "init", "optimizer", "steps")
WITHIN = ("test", "set", "truth", "size", "train", "group", "place")
METHODS = labels(HessianMethod)
"""Estimators in the order in which a figure of one method takes the first there is; name -> label."""

SCORES = {"pearson": "Pearson", "spearman": "Spearman"}
ARCHITECTURES = {
    "small_cnn": "Small CNN", "lenet": "LeNet", "vgg13": "VGG13", "vgg14": "VGG14", "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
}  # fmt: skip
IMAGENET = ("i13923", "i2257")
"""The paper's two test points."""

_NAMED = {
    "relu": "ReLU", "tanh": "tanh", "adam": "Adam", "gd": "gradient descent", "nesterov": "Nesterov",
    "rmsprop": "RMSProp", "momentum": "momentum", "lbfgs": "L-BFGS", **ARCHITECTURES,
}  # fmt: skip


printed = Printed(Path(__file__).with_name("reference.csv"), "fragile").number
"""The paper's number `fragile.<key>`; NaN if there is none."""


def parse(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv with a column for every key of their subjects, and `point`; a subject of other form has none.

    Columns of GRID and WITHIN are always there.
    """
    return subjects.parse(metrics, GRID, WITHIN)


def axes(rows: pd.DataFrame) -> list[str]:
    """The keys of the grid in `rows`, in the order of the contract, keys of a setting's own last."""
    return subjects.axes(rows, GRID)


def estimators(rows: pd.DataFrame) -> list[str]:
    """The estimators in `rows`, in the order of METHODS."""
    present = set(rows["method"])
    return [method for method in METHODS if method in present]


def primary(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every point the rows of its first estimator; all others, and what is no estimator, left out."""
    ranks = rows["method"].map({method: i for i, method in enumerate(METHODS)})
    known = rows[ranks.notna()]
    first = ranks[known.index] == ranks[known.index].groupby([known["setting"], known["point"]]).transform("min")
    return known[first].reset_index(drop=True)


def prefer(rows: pd.DataFrame, column: str, *wanted: str) -> pd.DataFrame:
    """The rows whose `column` holds the first of `wanted` that is there, else the first value in order."""
    values = ordered(rows[column].unique())
    chosen = next((w for w in wanted if w in values), values[0] if values else "")
    return rows[rows[column] == chosen].reset_index(drop=True)


def decayed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows trained with weight decay: the paper's 0.001 where there are several; all without such an axis."""
    return prefer(rows[rows["wd"] != "0"], "wd", "0.001")


def correlations(rows: pd.DataFrame, of: str = "") -> pd.DataFrame:
    """Pearson and Spearman (of the norms of parameter change with `of` "norm_") on one test point and set.

    Of the first method of every point, the truth from the optimum, the highest-loss test point and the top set (the
    first of each where a setting has other ones).
    """
    scored = primary(pick(rows, [f"{of}{score}" for score in SCORES], truth="", size=""))
    return top(scored if of else prefer(scored, "test", "max"))


def top(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the top set: that of most samples where there are several, the first set where there is none."""
    counts = {name: split_set(name)[1] for name in rows["set"].unique() if split_set(name)[0] == "top"}
    largest = max(counts, key=lambda name: (name == "top", counts[name])) if counts else ""
    return prefer(rows, "set", largest)


def split_set(name: str) -> tuple[str, float]:
    """("top", 40.0) of "top40"; the count is NaN where the name tells none ("top", "p30")."""
    match = re.fullmatch(r"(top|lowest|random|all)(\d+)?", name)
    return (match[1], float(match[2] or "nan")) if match else (name, math.nan)


def ordered(values: Iterable[str]) -> list[str]:
    """`values` by number, what is no number after that by name; architectures as in Table 1; test points by loss."""
    return sorted(values, key=_place)


def _place(value: str) -> tuple[int, float, float, str]:
    if value in ARCHITECTURES:
        return (0, float(list(ARCHITECTURES).index(value)), 0.0, value)
    match = re.fullmatch(r"(max|p|i)([\d.]*)([b-z]?)", value)
    if match:
        kind, number, which = match.groups()
        rank = float(number or 1)
        return (2 + ["max", "p", "i"].index(kind), -rank if kind == "p" else rank, float(ord(which or "a")), value)
    try:
        return (1, float(value), 0.0, value)
    except ValueError:
        return (9, 0.0, 0.0, value)


def by_place(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`frame` in the order of `columns`: numbers by size, estimators and architectures in their own order."""
    return arranged(frame, columns, ordered, {"method": [*METHODS, "several", ""]})


def imagenet_tests(rows: pd.DataFrame) -> list[str]:
    """The test points of `rows`: the paper's first and second (section 5.4), then others by loss."""
    tests = ordered(rows["test"].unique())
    return sorted(tests, key=lambda test: IMAGENET.index(test) if test in IMAGENET else len(IMAGENET))


def undefined(rows: pd.DataFrame, scored: pd.DataFrame, by: str) -> pd.DataFrame:
    """Value of `by` -> networks without a correlation in `found` (undefined), constant ones among them, and all."""
    trained = pick(rows, "train_loss", method="train")[list(dict.fromkeys([*KEYS, "point", by]))].drop_duplicates()
    constant = pick(rows, "constant_output", method="train")
    constant = constant[constant["value"] == 1][[*KEYS, "point"]].assign(constant=True)
    defined = scored[[*KEYS, "point"]].drop_duplicates().assign(defined=True)
    networks = trained.merge(constant, on=[*KEYS, "point"], how="left").merge(defined, on=[*KEYS, "point"], how="left")
    lost = networks["defined"].isna()
    networks = networks.assign(undefined=lost, constant=lost & networks["constant"].notna(), trained=1)
    return networks.groupby(by)[["undefined", "constant", "trained"]].sum()


def beside(rows: pd.DataFrame, metric: str = "influence", truth: str = "actual") -> pd.DataFrame:
    """Prediction and truth of every sample: KEYS, axes, method, point, test, train, size, group, predicted, actual."""
    on = [*KEYS, "point", "test", "train", "size", "group"]
    true = pick(rows, truth, method="retrain")[[*on, "value"]].rename(columns={"value": "actual"})
    predicted = pick(rows, metric, method=list(METHODS)).rename(columns={"value": "predicted"})
    columns = list(dict.fromkeys([*KEYS, *axes(rows), "method", *on, "predicted", "actual"]))
    return predicted.merge(true, on=on)[columns]


def named(key: str, value: str) -> str:
    """A value of an axis in words: "ReLU", "no decay", "depth 3"."""
    if key == "wd":
        return "no decay" if value == "0" else f"decay {value}"
    known = {"arch": "{}", "activation": "{}", "optimizer": "{}", "steps": "{} steps"}
    return known.get(key, f"{key} {{}}").format(_NAMED.get(value, value))


def point_words(point: str) -> str:
    """A point of the grid in words."""
    return ", ".join(named(key, value) for key, value in words_of(point).items())


def test_words(test: str) -> str:
    """A test point in words."""
    match = re.fullmatch(r"(max|p|i)([\d.]*)([b-z]?)", test)
    if not match:
        return test
    kind, number, which = match.groups()
    if kind == "i":
        return f"test sample {number}"
    if kind == "p":
        nth = f", {_nth(ord(which) - ord('a') + 1)}" if which else ""
        return f"loss percentile {number}{nth}"
    return f"{_nth(int(number))} highest loss" if number else "highest loss"


def _nth(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def tidy(rows: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The columns that a figure publishes: KEYS, axes, method, metric, `more`, value."""
    return rows[[*KEYS, *axes(rows), "method", "metric", *more, "value"]].reset_index(drop=True)
