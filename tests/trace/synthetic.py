"""Rows shaped like those of `fedlab trace`, with known answers; no training behind them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd

from experiments.core.sweep.cell import COLUMNS

IMAGES = ("mnist", "cifar10", "pathmnist", "organamnist")
TEXTS = ("dbpedia", "yahoo_answers")
DENSE = (*(f"densenet121_{data}" for data in IMAGES), *(f"gpt_{data}" for data in TEXTS))
NOISE = ("noise0.003_clip15", "noise0.006_clip10", "noise0.012_clip15")
NOISES = ("0.0001", "0.0003", "0.0007", "0.0009", "0.001", "0.003")
GRIDS = {
    "localization": {"task": (*(f"resnet18_{d}" for d in IMAGES), *(f"bert_{d}" for d in TEXTS), *DENSE)},
    "alpha": {"task": DENSE, "alpha": ("0.1", "0.3", "0.5", "1")},
    "faults": {"task": DENSE, "alpha": ("0.3", "0.7", "1")},
    "privacy": {"dp": (*NOISE, "none", *(f"noise{noise}_clip50" for noise in NOISES))},
    "clients": {"clients": ("200", "400", "600", "800", "1000")},
    "per_round": {"per_round": ("20", "30", "40", "50")},
    "rounds": {},
}
METHODS = ("tracefl", "tracefl_shares", "tracefl_flat", "tracefl_centred", "first_order", "cosine", "norm")
ROUNDS = {"rounds": 80}


def grid(setting):
    axes = GRIDS.get(setting, {})
    return [
        " ".join(f"{k}={v}" for k, v in zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]


def frame(rows, setting="mine", seed=0):
    """Rows given as dictionaries, completed to sweep's COLUMNS."""
    common = {"paper": "trace", "setting": setting, "scale": "small", "seed": seed, "dataset": "d", "model": "m"}
    common |= {"partition": "dirichlet_balanced", "subject": "", "unit": ""}
    told = pd.DataFrame([{**common, **row} for row in rows])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float, "n": float})


def metrics(setting, seeds=(0, 1, 2), rounds=None, empty=()):
    """A whole setting; in the rounds `empty` there is nothing to trace."""
    last = rounds or ROUNDS.get(setting, 6)
    parts = []
    for seed in seeds:
        made = [row for point in grid(setting) for row in _point(setting, point, seed, last, empty)]
        parts.append(frame(made, setting, seed))
    return pd.concat(parts, ignore_index=True)


def accuracy(point, seed, t, rounds=6):
    """Of the global model in round t: rises to the round before the last, so that the best is not the last."""
    place = sum(ord(c) * (i + 1) for i, c in enumerate(point)) % 30
    best = 95 - place - seed
    return 0.95 * best if t == rounds else best * (1 - np.exp(-4 * t / max(1, rounds - 1)))


def localization(method, seed, t):
    """Of a method in round t, whatever the point."""
    if method == "feddebug":
        return 30 + 10 * (t % 2)
    return 100 - 8 * METHODS.index(method) - seed - 2 * (t % 3)


def _point(setting, point, seed, rounds, empty):
    rows = [
        _row("config", "config", f"{point} key={key}".strip(), value)
        for key, value in {"clients": 98, "participants": 10, "parameters": 11e6, "alpha": 0.3, "labels": 3.5}.items()
    ]
    if setting == "privacy" and "none" not in point:
        rows += [_row("privacy", "epsilon", point, 120.0 + seed), _row("privacy", "epsilon_equal", point, 80.0 + seed)]
    scopes = ("correct", "wrong") if setting == "faults" else ("correct",)
    data = point.partition("_")[2].partition(" ")[0] if "task=" in point else ""
    common = {"dataset": f"{data}_subset" if "cifar" in point else data or "dbpedia", "model": "torchvision"}
    for t in range(1, rounds + 1):
        rows.append(_row("global", "accuracy", point, accuracy(point, seed, t, rounds), round=t, unit="%", n=2048))
        rows.append(_row("global", "loss", point, 2 / t, round=t, unit="nats", n=2048))
        for scope in scopes:
            rows += _round(point, seed, t, scope, 0 if t in empty else 8 + t, scope == "wrong" and data in IMAGES)
    return [{**common, **row} for row in rows]


def _round(point, seed, t, scope, n, feddebug):
    here = f"{point} scope={scope}".strip()
    rows = [_row("inputs", "inputs", here, n, round=t, unit="count")]
    if feddebug:
        rows.append(_row("feddebug", "localization", here, localization("feddebug", seed, t), round=t, unit="%", n=10))
        rows.append(_row("feddebug", "seconds", here, 0.05, round=t, unit="s", n=10))
    if not n:
        return rows
    rows.append(_row("chance", "chance", here, 10.0 if scope == "wrong" else 60.0 - t, round=t, unit="%", n=n))
    for i, method in enumerate(METHODS):
        told = {
            "localization": (localization(method, seed, t), "%"), "hit_truth": (80 - 9 * i, "%"),
            "pearson_truth": (0.9 - 0.12 * i, ""), "spearman_truth": (0.85 - 0.12 * i - 0.02 * seed, ""),
            "seconds": (0.01 * (1 + i), "s"),
        }  # fmt: skip
        if scope == "correct":
            told |= {"rank_most": (1.5 + 0.4 * i, "rank"), "hit_most": (70 - 8 * i, "%")}
        rows += [_row(method, name, here, v, round=t, unit=unit, n=n) for name, (v, unit) in told.items()]
    return rows


def _row(method, metric, subject, value, **more):
    return {"method": method, "metric": metric, "subject": subject, "value": value, **more}


def inputs(folder, setting="mine", seed=0, point="", kind="images", clients=10, scopes=("correct",) * 6, truth=True):
    """A cell's folder with cell.json and inputs.npz; client i holds most of label i, so it is first for label i.

    The second input of every scope is traced to a client that does not hold its label.
    """
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps({"setting": setting, "seed": seed, "method": point or "trace"}))
    random, n, classes = np.random.default_rng(seed), len(scopes), 10
    label = np.arange(n) % classes
    raw = random.normal(0, 1, (n, clients))
    raw[np.arange(n), label % clients] += 6
    if n > 1:
        raw[1] = np.roll(raw[1], 1)
    histogram = random.integers(0, 4, (clients, classes)) * (random.random((clients, classes)) < 0.3)
    histogram[np.arange(clients), np.arange(clients) % classes] = 40 + np.arange(clients)
    histogram[2 % clients, 1] = 0
    faulty = np.arange(clients) == 3
    wrong = np.array(scopes) == "wrong"
    scores = np.exp(raw - raw.max(1, keepdims=True))
    told = {
        "round": np.array(15), "scope": np.array(scopes), "label": label, "predicted": np.where(wrong, 0, label),
        "clients": np.arange(clients) * 3, "names": np.array([f"client {7 * i}" for i in range(clients)]),
        "scores": scores / scores.sum(1, keepdims=True), "raw": raw, "histogram": histogram,
        "sizes": histogram.sum(1), "faulty": faulty,
    }  # fmt: skip
    if truth:
        told["truth"] = raw * 0.1 + random.normal(0, 0.05, raw.shape)
    if kind == "images":
        told["images"] = random.normal(0, 1, (n, 3, 16, 16)).astype(np.float32)
    elif kind == "grey":
        told["images"] = random.random((n, 1, 8, 8)).astype(np.float32)
    elif kind == "texts":
        line = "The river rises in the hills above the town and runs for 40 km to the sea, past mills and meadows. "
        told["texts"] = np.array([line * (1 + i) for i in range(n)])
    np.savez(folder / "inputs.npz", **told)
    return folder
