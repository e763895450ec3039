"""Picking the numbers of tables and figures out of metrics.csv. No drawing here; frames in, frames out.

Subjects are read by `core.report.subjects`: a point of the setting's grid (task=resnet18_cifar10 fl=a0.1_E1_M10
algorithm=fedimpro), then what is measured there (target=82, layer=fc.weight depth=3). `method` is the algorithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.core.names import natural
from experiments.core.report import artefacts, subjects
from experiments.core.report.subjects import pick as pick
from experiments.core.report.tables import KEYS, arranged
from experiments.core.subject import words as words_of
from experiments.impro.spec import ORDER

WITHIN = (
    "target", "layer", "depth", "part", "objective", "sampled", "over", "client", "space", "how",
    "source", "key",
)  # fmt: skip

ALGORITHMS = {
    "fedavg": "FedAvg", "fedprox": "FedProx", "scaffold": "SCAFFOLD", "fednova": "FedNova", "feddyn": "FedDyn",
    "fedspeed": "FedSpeed", "ccvr": "CCVR", "feddf": "FedDF", "spherefed": "SphereFed", "fedimpro": "FedImpro",
}  # fmt: skip
"""Algorithms in the order of the paper's tables; kind -> name."""

_LOOKS = ("fedavg", "fedimpro", "fedprox", "scaffold", "fednova", "feddyn", "fedspeed", "ccvr", "feddf", "spherefed")

MODELS = {
    "resnet18": "ResNet-18", "resnet50": "ResNet-50", "vgg9": "VGG-9", "vgg11": "VGG-11", "resnet8": "ResNet-8",
    "resnet20": "ResNet-20", "lenet": "LeNet", "cnn": "CNN", "mlp": "MLP",
}  # fmt: skip
DATA = {
    "cifar10": "CIFAR-10", "fmnist": "FMNIST", "svhn": "SVHN", "cifar100": "CIFAR-100", "femnist": "FEMNIST",
    "writers": "MNIST by writer",
}  # fmt: skip
"""The paper's data sets in the order of its Table 1, then others; the word in names of tasks -> label."""

_ALIASES = {"fashion_mnist": "fmnist", "fashionmnist": "fmnist", "fashion": "fmnist"}
BASIC = "a0.1_E1_M10"
"""The federated setting of the paper's Figures 2, 3 and 8 and of its Tables 3 and 7."""

_METRICS = {
    "best_accuracy": "best", "last_accuracy": "last", "last_ten_accuracy": "last ten", "best_round": "best round",
    "diverged": "diverged",
}  # fmt: skip


def family(setting: str) -> str:
    """The setting of the paper behind a setting, a part of one or its stand-in: "table10" of table10_cifar100."""
    plain = artefacts.family(setting)
    return plain.partition("_")[0] if plain.startswith("table") else plain


def look_of(method: str) -> int:
    """The number of an algorithm's look (`style.look`), the same in every figure; others come after those known."""
    return _LOOKS.index(method) if method in _LOOKS else len(_LOOKS)


def label_of(method: str) -> str:
    """The name of an algorithm, or the word itself; of "fedavg+ccvr" both names."""
    return " + ".join(ALGORITHMS.get(part, part) for part in method.split("+"))


def parse(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv with a column for every key of their subjects, `point`, `cell`, `data` and `net`.

    cell: the point without its algorithm, that is what algorithms are compared in. data, net: data set and model by
    the words of DATA and MODELS: those of the task, else those of the columns dataset and model.
    """
    rows = subjects.parse(metrics, ORDER, WITHIN)
    cells = {point: without(point, "algorithm") for point in rows["point"].unique()}
    named = [_task(*each) for each in zip(rows["task"], rows["model"], rows["dataset"], strict=True)]
    nets, data = ([pair[i] for pair in named] for i in (0, 1))
    return rows.assign(cell=rows["point"].map(cells), net=nets, data=data)


def without(point: str, *keys: str) -> str:
    """A point without the words of `keys`."""
    return " ".join(word for word in point.split(" ") if word.partition("=")[0] not in keys)


def _task(task: str, model: str, dataset: str) -> tuple[str, str]:
    """(net, data): ("resnet18", "cifar10") of the task resnet18_cifar10."""
    net, _, data = task.partition("_")
    if net in MODELS and data:
        return net, data
    plain = str(dataset).lower().removesuffix("_subset").replace("-", "_")
    return str(model), _ALIASES.get(plain, plain)


def axes(rows: pd.DataFrame) -> list[str]:
    """The axes of the grid in `rows`, in the order of results."""
    return subjects.axes(rows, ORDER)


def methods(rows: pd.DataFrame) -> list[str]:
    """The algorithms in `rows`: those of ALGORITHMS in its order, then others."""
    present = set(rows["method"])
    return [m for m in ALGORITHMS if m in present] + sorted(present - set(ALGORITHMS))


def ordered(values: Iterable[str]) -> list[str]:
    """Values of an axis: numbers by size, tasks by data set, settings as the paper lists them, others by name."""
    return sorted(values, key=_place)


_FL = ("a0.1_E1_M10", "a0.05_E1_M10", "a0.1_E5_M10", "a0.1_E1_M100")


def _place(value: str) -> tuple[int, float, object]:
    data = value.partition("_")[2]
    if data in DATA:
        return (1, float(list(DATA).index(data)), natural(value))
    if value in _FL:
        return (2, float(_FL.index(value)), natural(value))
    try:
        return (0, float(value), natural(value))
    except ValueError:
        return (3, 0.0, natural(value))


def by_place(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`frame` in the order of `columns`: algorithms in the paper's order, data sets too, numbers by size."""
    orders = {"method": list(ALGORITHMS), "algorithm": list(ALGORITHMS)}
    return arranged(frame, columns, ordered, orders)


def cells(rows: pd.DataFrame) -> list[str]:
    """The cells in `rows` in the order of their axes."""
    firsts = rows.drop_duplicates("cell")
    names = [axis for axis in axes(firsts) if axis != "algorithm"]
    return [str(cell) for cell in by_place(firsts, names)["cell"]]


def finals(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a point and seed: best, last, last ten, best round, diverged (the round, NaN for never), as far as stored.

    Returns:
        KEYS, ORDER and further axes, point, cell, data, net, dataset, model, method, and those of the five that
        `rows` have.
    """
    told = rows[rows["metric"].isin(list(_METRICS)) & rows["method"].isin(methods_trained(rows))]
    by = [*KEYS, *ORDER, *axes(rows), "point", "cell", "data", "net", "dataset", "model", "method"]
    by = list(dict.fromkeys(by))
    if told.empty:
        return pd.DataFrame(columns=[*by, *_METRICS.values()])
    wide = told.set_index([*by, "metric"])["value"].groupby(level=[*by, "metric"]).first().unstack("metric")
    # A metric whose rows are all NaN keeps its column: "never" is an answer.
    return wide.reset_index().rename(columns=_METRICS).rename_axis(columns=None)


def methods_trained(rows: pd.DataFrame) -> list[str]:
    """The methods that are algorithms: those with an accuracy of their own."""
    return methods(rows[rows["metric"].isin(["accuracy", "best_accuracy", "last_accuracy"])])


def curves(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """The finite values of `metric` by round of the algorithms, without those that belong to no round."""
    picked = pick(rows, metric, method=methods_trained(rows) or methods(rows))
    return picked[picked["round"].notna()].reset_index(drop=True)


_AXIS_WORDS = {
    "split": "split after {}", "noise": "noise {}", "per_round": "{} clients a round", "variant": "{}",
    "schedule": "schedule {}",
}  # fmt: skip


def named(key: str, value: str) -> str:
    """A value of an axis in words: "ResNet-18, CIFAR-10", "a 0.1, E 1, M 10", "noise 0.01"."""
    if key == "task":
        net, _, data = value.partition("_")
        return f"{MODELS[net]}, {DATA.get(data, data)}" if net in MODELS and data else value
    if key == "fl":
        return fl_words(value)
    if key == "algorithm":
        return label_of(value)
    return _AXIS_WORDS.get(key, f"{key} {{}}").format(value)


def fl_words(fl: str) -> str:
    """The words "a 0.1, E 1, M 10" of a0.1_E1_M10; any other text as it is."""
    parts = fl.split("_")
    if not all(part[:1] in set("aEMR") and part[1:].replace(".", "", 1).isdigit() for part in parts):
        return fl
    return ", ".join(f"{part[0]} {part[1:]}" for part in parts)


def point_words(point: str) -> str:
    """A point or cell of the grid in words."""
    return ", ".join(named(key, value) for key, value in words_of(point).items())


def panel_words(rows: pd.DataFrame, cell: str) -> str:
    """The title of a panel: model and data on a line, the rest of the cell on the next.

    A subset of the data is said to be one.
    """
    first = rows.iloc[0]
    head = f"{MODELS.get(str(first['net']), str(first['net']))}, {DATA.get(str(first['data']), str(first['data']))}"
    head += " (subset)" if "subset" in str(first["dataset"]) else ""
    return "\n".join(filter(None, [head, point_words(without(cell, "task"))]))


def tidy(rows: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The columns that a figure publishes: KEYS, axes, data set, model, method, metric, `more`, value."""
    columns = [*KEYS, *axes(rows), "dataset", "model", "method", "metric", *more, "value"]
    return rows[list(dict.fromkeys(columns))].drop_duplicates().reset_index(drop=True)


def at_cell(rows: pd.DataFrame, cell: str) -> pd.DataFrame:
    """The rows of one cell."""
    return rows[rows["cell"] == cell]
