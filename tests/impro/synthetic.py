"""Rows shaped like those of `fedlab impro`, with known answers, nothing like real numbers; no training behind them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from experiments.core.sweep.cell import COLUMNS

FL = ("a0.1_E1_M10", "a0.05_E1_M10", "a0.1_E5_M10", "a0.1_E1_M100")
SIX = ("fedavg", "fedprox", "scaffold", "fednova", "feddyn", "fedimpro")
GRIDS = {
    "table1": {"task": ("lenet_fmnist", "resnet18_cifar10"), "fl": FL, "algorithm": SIX},
    "table3": {"split": ("layer1", "layer2", "layer3", "layer4"), "algorithm": ("fedimpro",)},
    "table6": {"task": ("lenet_fmnist",), "fl": FL[:2], "algorithm": SIX[:4]},
    "table7": {"noise": ("0", "0.01", "0.1", "0.5"), "algorithm": ("fedimpro",)},
    "table8": {"algorithm": ("fedavg", "fedprox", "fednova", "fedimpro")},
    "table9": {"algorithm": ("fedavg", "fedprox", "scaffold", "fednova", "fedimpro")},
    "table10": {"fl": ("a0.1_M10_R100", "a0.3_M100_R1400"), "algorithm": ("fedspeed", "fedimpro")},
    "table11": {"fl": FL[:1], "per_round": ("5", "10"), "algorithm": ("fedavg", "fedimpro")},
    "long": {"schedule": ("fixed", "decayed"), "algorithm": ("fedavg",)},
    "presets": {"variant": ("released", "paper", "momentum", "clipped"), "algorithm": ("fedimpro",)},
    "residual": {"task": ("resnet8_fmnist", "resnet8_cifar10"), "algorithm": ("fedavg", "scaffold", "fedimpro")},
    "mine": {},
}
DATASETS = {"table8": "femnist", "table9": "cifar10", "table3": "cifar10", "mine": "mnist"}
LAYERS = ("0.weight", "0.bias", "3.weight", "3.bias", "6.weight", "6.bias", "8.weight", "8.bias")
RANK = {method: place for place, method in enumerate(SIX)}


def points(setting):
    axes = GRIDS[setting]
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def frame(rows, setting="mine", seed=0):
    """Rows given as dictionaries, completed to sweep's COLUMNS."""
    common = {"paper": "impro", "setting": setting, "scale": "small", "seed": seed, "dataset": "cifar10"}
    common |= {"model": "resnet", "partition": "dirichlet", "subject": "", "unit": ""}
    told = pd.DataFrame([{**common, **row} for row in rows])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float, "n": float})


def metrics(setting="table1", seeds=(0, 1, 2), rounds=20, diverged=()):
    """A whole setting; algorithms in `diverged` leave the finite numbers in the round after the fifth."""
    parts = [
        frame(list(_point(point, setting, seed, rounds, diverged)), setting, seed)
        for seed in seeds
        for point in points(setting)
    ]
    return pd.concat(parts, ignore_index=True)


def level(method, fl="", seed=0, more=0.0):
    """The highest accuracy of an algorithm: 10 points and a half apart, so that nobody takes it for a result."""
    steep = {"a0.05_E1_M10": 2.0, "a0.1_E1_M100": -1.0}.get(fl, 1.0)
    return 30.5 + 10.5 * RANK.get(method, 2) * steep / 2 + seed + more


def accuracy(method, fl, seed, t, rounds, more=0.0):
    """In round t: rises to the round before the last, so that the best is not the last."""
    best = level(method, fl, seed, more)
    return best - 5 if t == rounds else best * (1 - 2.0 ** (-6 * t / (rounds - 1))) / (1 - 2.0**-6)


def _more(point):
    """What axes beside the algorithm add to the accuracy."""
    add = {"layer1": 1.0, "layer2": 2.0, "layer3": 1.5, "layer4": -3.0}.get(point.get("split", ""), 0.0)
    add += {"paper": -4.0, "momentum": -2.0, "clipped": 1.0, "decayed": -6.0}.get(
        point.get("variant", point.get("schedule", "")), 0.0
    )
    return add - 2 * float(point.get("noise", 0)) + float(point.get("per_round", 5)) / 5


def _point(point, setting, seed, rounds, diverged):
    method, fl = point.get("algorithm", "fedavg"), point.get("fl", "")
    subject = " ".join(f"{key}={value}" for key, value in point.items())
    data = point.get("task", "").partition("_")[2] or DATASETS.get(setting, "cifar10")
    common = {"method": method, "dataset": f"{data}_subset" if "resnet8" in subject else data, "unit": "%"}
    end = 5 if method in diverged else rounds
    values = [accuracy(method, fl, seed, t, rounds, _more(point)) for t in range(1, end + 1)]
    rows = [{"metric": "accuracy", "round": t, "value": v, "n": 100} for t, v in enumerate(values, 1)]
    rows += [{"metric": "loss", "round": t, "value": 3 / t, "unit": "nats", "n": 100} for t in range(1, end + 1)]
    rows += [{**row, "value": np.nan} for row in _after(rows[:1], end, rounds)]
    last = values if method not in diverged else [np.nan]
    reached = [t for t, v in enumerate(values, 1) if v >= 50]
    rows += [
        {"metric": "best_accuracy", "value": max(values)},
        {"metric": "best_round", "value": int(np.argmax(values)) + 1, "unit": "rounds"},
        {"metric": "last_accuracy", "value": last[-1]},
        {"metric": "last_ten_accuracy", "value": float(np.mean(last[-10:]))},
        {"metric": "diverged", "value": end + 1 if method in diverged else np.nan, "unit": "round"},
        {"metric": "rounds_to_target", "subject": "target=50", "value": reached[0] if reached else np.nan,
         "n": rounds, "unit": "rounds"},
        {"metric": "upload_bytes", "value": 4e4 + (1e4 if method == "fedimpro" else 0), "unit": "bytes"},
        {"metric": "download_bytes", "value": 4e4 * (2 if method == "scaffold" else 1), "unit": "bytes"},
        {"metric": "state_bytes", "value": 7e4, "unit": "bytes"},
        {"metric": "train_seconds", "value": 0.5 + 0.1 * RANK.get(method, 2), "unit": "s"},
    ]  # fmt: skip
    rows += [{"metric": "learning_rate", "value": 0.1, "unit": ""}]
    rows += [
        {"method": "config", "metric": "config", "subject": f"key={key}", "value": value, "unit": ""}
        for key, value in {"clients": 10, "rounds": rounds, "parameters": 5e4}.items()
    ]
    rows += _divergence(method, seed, end)
    rows += [{"metric": "sampled_weight", "round": t, "value": t / 20, "unit": ""} for t in range(1, end + 1)
             if method == "fedimpro"]  # fmt: skip
    for row in rows:
        yield {**common, **row, "subject": f"{subject} {row.get('subject', '')}".strip()}


def _after(rows, end, rounds):
    return [{**row, "round": t} for row in rows for t in range(end + 1, rounds + 1)]


def _divergence(method, seed, rounds):
    """Of the whole model: FedImpro's from above the others' to below; of layers: lower ones shrink faster."""
    rows = []
    for t in range(1, rounds + 1):
        whole = 2.0 + seed - (t / rounds if method == "fedimpro" else 0.5)
        rows.append({"metric": "weight_divergence", "round": t, "value": whole, "unit": "L2"})
        if method == "fedavg":
            rows += [
                {"metric": "layer_divergence", "round": t, "subject": f"layer={layer} depth={depth}", "unit": "L2",
                 "value": (1 + depth) * float(np.exp(-(len(LAYERS) - depth) * t / rounds))}
                for depth, layer in enumerate(LAYERS)
            ]  # fmt: skip
    return rows
