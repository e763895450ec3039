"""Rows shaped like those of `fedlab fragility`, with known answers; no training behind them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd

from experiments.core.sweep.cell import COLUMNS

ARCHITECTURES = ("small_cnn", "lenet", "vgg13", "vgg14", "resnet18", "resnet50")
_GRIDS = {
    "iris_decay": {"activation": ("relu", "tanh"), "wd": ("0.005", "0")},
    "iris_depth": {"activation": ("relu", "tanh"), "depth": ("1", "2", "5", "8")},
    "iris_width": {"activation": ("tanh", "relu"), "width": ("5", "8", "10", "14", "18", "25", "30", "40", "50")},
    "iris_deep_decay": {"activation": ("tanh", "relu"), "wd": ("0.03", "0.05", "0.075", "0.1")},
    "iris_scratch": {"depth": ("1", "2", "4", "8")},
    "iris_decline": {
        "depth": ("1", "2", "4", "8"),
        "wd": ("0", "0.001", "0.005"),
        "init": ("glorot_uniform", "default"),
    },
    "small_mnist": {"wd": ("0.001", "0")},
    "small_mnist_decay": {"wd": ("0", "0.001", "0.003", "0.01", "0.03", "0.1")},
    "table1_mnist": {"arch": ARCHITECTURES, "wd": ("0.001", "0")},
    "table1_cifar10": {"arch": ARCHITECTURES[1:], "wd": ("0.001", "0")},
    "optimizers": {"optimizer": ("adam", "gd", "nesterov", "rmsprop")},
    "groups": {"arch": ("small_cnn", "resnet18")},
}
_TESTS = {
    "small_mnist": ("max", *(f"max{i}" for i in range(2, 11)), "p75", "p75b", "p50", "p50b", "p25", "p25b"),
    "table1_mnist": ("max", "p50"),
    "table1_cifar10": ("max", "p50", "i1479", "i7196"),
    "cifar100": ("i6017", "i2407", "i9383", "i783", "i7106"),
    "imagenet": ("i13923", "i2257"),
}
_SETS = {
    "small_mnist": {"top": 100, "top40": 40, "top20": 20, "p30": 100, "lowest100": 100, "lowest40": 40, "lowest20": 20}
}
_METHODS = {"iris_depth": ("exact", "lissa"), "table1_mnist": ("cg",), "table1_cifar10": ("lissa",)}


def grid(setting):
    axes = _GRIDS.get(setting, {})
    return [
        " ".join(f"{k}={v}" for k, v in zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]


def frame(rows, setting="iris_decay", seed=0):
    """Rows given as dictionaries, completed to sweep's COLUMNS."""
    common = {"paper": "fragility", "setting": setting, "scale": "small", "seed": seed, "dataset": "d"}
    common |= {"subject": "", "unit": ""}
    told = pd.DataFrame([{**common, **row} for row in rows])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float, "n": float})


def metrics(setting, seeds=(0, 1, 2), samples=12, constant=()):
    """A whole setting; `constant` holds (seed, point) whose network has a constant output: no correlation."""
    parts = []
    for seed in seeds:
        made = [
            row for point in grid(setting) for row in _point(setting, point, seed, samples, (seed, point) in constant)
        ]
        parts.append(frame(made, setting, seed))
    return pd.concat(parts, ignore_index=True)


def correlation(point, seed, test="max"):
    """The Spearman correlation that stands in the rows: it differs by point, seed and kind of test point."""
    place = sum(ord(c) * (i + 1) for i, c in enumerate(point)) % 50
    return round(0.95 - place / 100 - 0.03 * seed - 0.02 * (len(test) - 3), 4)


def _point(setting, point, seed, samples, constant):
    random = np.random.default_rng([seed, len(point), sum(map(ord, point))])
    about = {
        "train_loss": 0.01 * (seed + 1), "test_loss": 0.2, "train_accuracy": 1.0, "test_accuracy": 0.95 - 0.01 * seed,
        "gradient_norm": 1e-6 * 10**seed, "converged": float(seed < 2), "parameters": 43, "train_samples": 120,
        "test_samples": 30, "seconds": 3.0, "top_eigenvalue": 1.5 + len(point) + sum(map(ord, point)) % 40,
        "constant_output": float(constant), "damping": 0.0, "weight_decay": 0.005,
    }  # fmt: skip
    rows = [_row("train", name, point, value=value) for name, value in about.items()]
    methods = _METHODS.get(setting, ("exact",))
    for order, test in enumerate(_TESTS.get(setting, ("max",))):
        here = f"{point} test={test}".strip()
        for metric, value in (
            ("test_index", 7 + order),
            ("test_label", order % 3),
            ("test_point_loss", 2.0 - 0.1 * order),
        ):
            rows.append(_row("test", metric, here, value=value))
        rows += _costs(methods, here, test, seed)
        rows += _samples(random, methods, point, test, samples, setting == "iris_scratch")
        if not constant:
            rows += _scores(setting, methods, point, test, seed)
        rows += [_row("retrain", "drift", here, value=0.001), _row("retrain", "spread", f"{here} set=top", value=0.01)]
    if setting in ("small_mnist", "cifar100"):
        rows += [
            _row("several", s, f"{point} set=top".strip(), value=v, n=800)
            for s, v in (("pearson", 0.8), ("spearman", 0.7))
        ]
    return rows


def _row(method, metric, subject, value, **more):
    return {"method": method, "metric": metric, "subject": subject, "value": value, **more}


def _costs(methods, here, test, seed):
    rows = []
    for i, method in enumerate(methods):
        told = {
            "influence_seconds": 1.0 + i + seed,
            "residual": 1e-6 * 10**i,
            "iterations": 30,
            "spearman_exact": 1 - 0.1 * i,
        }
        rows += [_row(method, name, here, value=value, n=120) for name, value in told.items()]
        if method == "lissa":
            rows += [_row("lissa", "norm_curve", here, value=1 + t**0.5, round=t) for t in range(0, 500, 50)]
    return rows


def _samples(random, methods, point, test, samples, scratch):
    rows = []
    true = random.normal(0, 1e-2, samples)
    for i in range(samples):
        here = f"{point} test={test} train={i}".strip()
        rows.append(_row("retrain", "actual", here, value=true[i], unit="nats"))
        rows.append(_row("data", "label", here, value=i % 3))
        rows += [_row(m, "influence", here, value=true[i] * random.uniform(0.5, 1.5), unit="nats") for m in methods]
    if test != "max":
        return rows
    for i in range(samples):
        here, size = f"{point} train={i}".strip(), float(10 ** random.uniform(-3, 0))
        rows.append(_row("retrain", "change_norm", here, value=size))
        rows.append(_row(methods[0], "change_norm", here, value=size * random.uniform(0.5, 2)))
        if scratch:
            rows.append(_row("scratch", "distance", here, value=size / 10))
            rows.append(_row("scratch", "change_norm", here, value=size * 1.1))
    return rows


def _scores(setting, methods, point, test, seed):
    rows, value = [], correlation(point, seed, test)
    for order, (name, n) in enumerate(_SETS.get(setting, {"top": 40}).items()):
        for i, method in enumerate(methods):
            here = f"{point} test={test} set={name}".strip()
            told = value - 0.05 * i - (0.1 * order if order else 0)
            rows.append(_row(method, "spearman", here, value=told, n=n))
            rows.append(_row(method, "pearson", here, value=told + 0.03, n=n))
            if setting == "iris_scratch":
                rows.append(_row(method, "spearman", f"{here} truth=scratch", value=told - 0.02, n=n))
            if test == "max" and name == "top":
                rows.append(_row(method, "norm_spearman", f"{point} set=top".strip(), value=value - 0.2, n=n))
    if setting == "groups":
        for k, size in enumerate((2, 4, 8, 16, 32, 64)):
            here = f"{point} test={test} set=groups size={size}"
            rows += [
                _row(methods[0], s, here, value=value - 0.1 * k + d, n=20)
                for s, d in (("pearson", 0.05), ("spearman", 0))
            ]
    return rows


def images(folder, setting, seed=0, points=("",), tests=("max",), count=5, channels=3):
    """A cell's folder with cell.json and images.npz."""
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps({"setting": setting, "seed": seed}))
    shape = (8, 8, 3) if channels == 3 else (8, 8)
    random, found = np.random.default_rng(seed), {}
    for point, test in itertools.product(points, tests):
        key = f"{point} test={test}".strip()
        for part in ("test", *(f"train={i}" for i in range(count))):
            found[f"{key}|{part}"] = random.integers(0, 255, shape, dtype=np.uint8)
    np.savez(folder / "images.npz", **found)
    return folder
