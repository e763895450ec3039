"""Picking the numbers of tables and figures out of metrics.csv. No drawing here; frames in, frames out.

Subjects are read by `core.report.subjects`: a point of the setting's grid (task=lenet_cifar10 eps=4), then what is
measured there (pick=highest share=0.25). `method` is the score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.core.names import natural
from experiments.core.report import artefacts, subjects
from experiments.core.report.subjects import pick as pick
from experiments.core.report.tables import arranged
from experiments.core.subject import words as words_of
from experiments.core.sweep.cell import COLUMNS
from experiments.vog.spec import ORDER

WITHIN = (
    "key", "of", "pick", "draw", "share", "against", "truth", "size", "release", "client", "fault", "by", "checkpoint",
    "how",
)  # fmt: skip
AXES = tuple(f"{key}_" if key in COLUMNS else key for key in ORDER)
"""The axes of the paper's grids as columns of parsed rows are called."""

NONE = "none"
"""The value of the axis eps without differential privacy."""

METHODS = {
    "loss": "loss", "grad_norm": "gradient norm", "vog": "VoG", "plis": "PLIS", "el2n": "EL2N", "grand": "GraNd",
    "forgetting": "forgetting",
}  # fmt: skip
"""Scores in the order of the paper's Table 1, then those it does not have; kind -> name."""

CONTROLS = {"none": "no removal", "random": "random removal"}
"""What stands for a method in removal runs without a score."""

PAPERS = ("loss", "grad_norm", "vog", "plis")
"""The scores that the paper compares."""

_LOOKS = ("vog", "plis", "loss", "grad_norm", "el2n", "grand", "forgetting")
MODELS = {
    "lenet": "LeNet", "resnet8": "ResNet-8", "resnet9": "ResNet-9", "resnet18": "ResNet-18", "resnet101": "ResNet-101",
    "resnext101": "ResNeXt-101", "wideresnet50": "WideResNet-50", "wideresnet101": "WideResNet-101", "mlp": "MLP",
    "cnn": "CNN", "logistic": "logistic regression",
}  # fmt: skip
DATA = {
    "cifar10": "CIFAR-10", "cinic10": "CINIC-10", "pppd": "PPPD", "xray": "chest X-rays", "fmnist": "Fashion-MNIST",
    "mnist": "MNIST", "pneumonia": "PneumoniaMNIST", "digits": "digits", "iris": "Iris",
}  # fmt: skip
"""The paper's data sets, then others; the word in names of tasks -> label."""

_ALIASES = {
    "fashion_mnist": "fmnist", "fashionmnist": "fmnist", "fashion": "fmnist", "pneumoniamnist": "pneumonia",
    "pneumonia_mnist": "pneumonia",
}  # fmt: skip


def family(setting: str) -> str:
    """The setting of the paper behind a setting, a part of one or its stand-in: "table1" of table1_resnet."""
    plain = artefacts.family(setting)
    return plain.partition("_")[0] if plain.startswith("table") else plain


def look_of(method: str) -> int:
    """The number of a score's look (`style.look`), the same in every figure; others come after those known."""
    return _LOOKS.index(method) if method in _LOOKS else len(_LOOKS) - 1


def label_of(method: str) -> str:
    """The name of a score or control, or the word itself."""
    return METHODS.get(method) or CONTROLS.get(method, method)


def parse(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv with a column for every key of their subjects, `point`, `data` and `net`.

    data, net: data set and model by the words of DATA and MODELS: those of the grid, else of the columns dataset and
    model.
    """
    rows = subjects.parse(metrics, AXES, WITHIN)
    named = [
        names_of(words_of(point), str(model), str(dataset))
        for point, model, dataset in zip(rows["point"], rows["model"], rows["dataset"], strict=True)
    ]
    nets, data = ([pair[i] for pair in named] for i in (0, 1))
    return rows.assign(net=nets, data=data)


def names_of(point: dict[str, str], model: str = "", dataset: str = "") -> tuple[str, str]:
    """(net, data): ("resnet18", "cifar10") of the task resnet18_cifar10; of a point without a task, of the columns."""
    net, _, data = point.get("task", "").partition("_")
    if net in MODELS and data:
        return point.get("model_", net), data
    plain = (point.get("task") or dataset).lower().removesuffix("_subset").replace("-", "_")
    return point.get("model_", model), _ALIASES.get(plain, plain)


def without(point: str, *keys: str) -> str:
    """A point without the words of `keys`."""
    return " ".join(word for word in point.split(" ") if word.partition("=")[0] not in keys)


def axes(rows: pd.DataFrame) -> list[str]:
    """The axes of the grid in `rows`, in the order of results."""
    return subjects.axes(rows, AXES)


def methods(present: Iterable[str]) -> list[str]:
    """`present` in order: scores as METHODS has them, others by name, controls last."""
    known = [*METHODS, *CONTROLS]
    rank = {method: known.index(method) for method in known}
    return sorted(set(present), key=lambda m: (m in CONTROLS, rank.get(m, len(METHODS)), m))


def epsilon(value: str) -> float:
    """The number of a value of the axis eps; infinity without privacy, or for a word that is no number."""
    try:
        return float(value)
    except ValueError:
        return math.inf


def ordered(values: Iterable[str]) -> list[str]:
    """Values of an axis: numbers by size, `none` after them, models and data sets in their order, others by name."""
    return sorted(values, key=_place)


def _place(value: str) -> tuple[int, float, object]:
    net, _, data = value.partition("_")
    if net in MODELS and (not data or data in DATA):
        place = list(MODELS).index(net) + len(MODELS) * (list(DATA).index(data) if data else 0)
        return (2, float(place), natural(value))
    if value == NONE or epsilon(value) < math.inf:
        return (0, epsilon(value), natural(value))
    return (3, 0.0, natural(value))


def by_place(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`frame` in the order of `columns`: scores in the paper's order, numbers by size."""
    orders = {"method": methods(frame["method"])} if "method" in frame else {}
    return arranged(frame, columns, ordered, orders)


def points(rows: pd.DataFrame) -> list[str]:
    """The points of the grid in `rows`, in the order of their axes."""
    firsts = rows.drop_duplicates("point")
    return [str(point) for point in by_place(firsts, axes(firsts))["point"]]


def named(key: str, value: str) -> str:
    """A value of an axis in words: "LeNet, CIFAR-10", "eps 4", "no DP"."""
    if key == "eps":
        return "no DP" if value == NONE else f"eps {value}"
    if key == "task":
        net, _, data = value.partition("_")
        known = DATA.get(names_of({"task": value})[1], value)
        return f"{MODELS[net]}, {DATA.get(data, data)}" if net in MODELS and data else known
    if key in ("model", "model_"):
        return MODELS.get(value, value)
    return f"{value} {key}" if key == "samples" else f"{key} {value}"


def point_words(point: str) -> str:
    """A point of the grid in words."""
    return ", ".join(named(key, value) for key, value in words_of(point).items())
