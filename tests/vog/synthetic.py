"""Rows and scores shaped like those of `fedlab vog`, with known answers, nothing like real numbers; nothing trained."""

from __future__ import annotations

import functools
import itertools
import json

import numpy as np
import pandas as pd

from experiments.core.sweep.cell import COLUMNS
from experiments.vog.stored_scores import Scored

SCORES = ("loss", "grad_norm", "vog", "plis", "el2n", "grand", "forgetting")
EPS = ("1", "4", "8", "none")
GRIDS = {
    "table1": {"task": ("lenet_cifar10", "resnet8_cifar10"), "eps": EPS},
    "models": {"model": ("resnet9", "resnet18"), "eps": ("4", "none")},
    "size": {"samples": ("400", "800"), "eps": ("4", "8")},
    "xray": {"eps": ("1", "8")},
    "difficulty": {"eps": ("1", "none")},
    "truth": {"task": ("iris", "digits")},
    "audit": {"eps": ("1", "4")},
    "mine": {},
}
DATASETS = {"xray": "pneumoniamnist", "truth": "digits", "audit": "digits", "mine": "mnist"}
NOISE = {"vog": 0.2, "plis": 0.5, "loss": 2.0, "grad_norm": 1.5}
"""How far a method's scores of one training are from those of another, in standard deviations of what they share."""

LEVEL = {"loss": 8.0, "grad_norm": 6.0, "vog": 2.0, "plis": 1.0, "el2n": 5.0, "grand": 4.0, "forgetting": 3.0}
"""Accuracies after removal above 40, in points: far apart, so that nobody takes them for results."""

PARAMETERS = {"lenet": 60_000, "resnet8": 80_000, "resnet9": 2_000_000, "resnet18": 11_000_000}
CLASSES, SIDE = 3, 8


def points(setting):
    axes = GRIDS[setting]
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def label(point):
    return " ".join(f"{key}={value}" for key, value in point.items())


def frame(rows, setting="mine", seed=0):
    """Rows given as dictionaries, completed to sweep's COLUMNS."""
    common = {"paper": "vog", "setting": setting, "scale": "small", "seed": seed, "model": "lenet", "subject": ""}
    common |= {"dataset": DATASETS.get(setting, "cifar10_subset"), "partition": "iid", "unit": ""}
    told = pd.DataFrame([{**common, **row} for row in rows])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float, "n": float})


def metrics(setting="table1", seeds=(0, 1, 2)):
    """All rows of a setting."""
    parts = [frame(list(_point(point, setting, seed)), setting, seed) for seed in seeds for point in points(setting)]
    return pd.concat(parts, ignore_index=True)


def _point(point, setting, seed):
    eps = point.get("eps", "none")
    net = point.get("model", point.get("task", "").partition("_")[0])
    for row in _rows(setting, eps, seed, net):
        yield {**row, "subject": " ".join(filter(None, [label(point), row.get("subject", "")]))}


def accuracy(method, eps, seed, pick="highest", draw=0):
    """After removal: far above what a model of no value has, the random one between."""
    base = 40.0 + {"1": 0, "4": 5, "8": 7, "none": 10}[eps] + seed
    if method in ("none", "random"):
        return base + (12.0 if method == "none" else 9.0 + draw / 10)
    return base + (LEVEL[method] if pick == "highest" else 10.0)


def row(method, metric, value, subject="", unit="", n=None, t=None):
    return {"method": method, "metric": metric, "value": value, "subject": subject, "unit": unit, "n": n, "round": t}


def _rows(setting, eps, seed, net=""):
    for t in (1, 2, 3):
        yield row("train", "test_accuracy", 30.0 + 5 * t + seed, unit="%", n=100, t=t)
        yield row("train", "train_accuracy", 35.0 + 5 * t, unit="%", n=500, t=t)
        yield row("train", "test_loss", 2.0 / t, unit="nats", n=100, t=t)
    facts = {"rounds": 3, "batch_size": 64, "checkpoints": 3, "parameters": PARAMETERS.get(net, 1000)}
    for key, value in facts.items():
        yield row("config", "config", value, f"key={key}")
    if eps != "none":
        for metric, value in {"epsilon": float(eps) - 0.01, "noise": 4 / float(eps), "rate": 0.1, "steps": 30}.items():
            yield row("privacy", metric, value)
    for place, method in enumerate(SCORES):
        yield row(method, "score_mean", 1.0 + place, n=500)
        yield row(method, "seconds", 0.5 * (1 + place), "of=scores", "s", 500)
    for first, second in itertools.combinations(SCORES, 2):
        for pick, value in {"all": 0.5, "extremes": 0.3}.items():
            about = f"against={second} pick={pick}"
            for metric in ("scores_pearson", "scores_spearman"):
                for end, more in {"": 0.0, "_low": -0.1, "_high": 0.1}.items():
                    yield row(first, f"{metric}{end}", value + more + 0.01 * seed, about, n=240)
    measures = {"table1": _removal, "mine": _removal, "difficulty": _difficulty, "truth": _truth, "audit": _audit}
    if setting in measures:
        yield from measures[setting](eps, seed)


def _removal(eps, seed):
    worlds = [("none", "none", 0, 0), *(("random", "random", draw, 0.25) for draw in range(3))]
    worlds += [(method, pick, 0, 0.25) for method in SCORES for pick in ("highest", "lowest")]
    for method, pick, draw, share in worlds:
        about = f"pick={pick} draw={draw} share={share:g}"
        value = accuracy(method, eps, seed, pick, draw)
        yield row(method, "removal_accuracy", value, about, "%", 100, 5)
        yield row(method, "removal_loss", 3 - value / 50, about, "nats", 100, 5)
        yield row(method, "removal_train_accuracy", value + 5, about, "%", 500, 5)


def _difficulty(eps, seed):
    lower = 0.2 if eps == "1" else 0.0
    for place, method in enumerate(SCORES):
        value = 0.1 * place + lower + 0.01 * seed
        for end, more in {"": 0.0, "_low": -0.1, "_high": 0.1}.items():
            for against in ("held_out_loss", "held_out_error"):
                yield row(method, f"difficulty_spearman{end}", value + more, f"against={against}", n=500)
            yield row(method, f"noise_auroc{end}", 0.5 + value / 4 + more / 4, n=500)


def _truth(eps, seed):
    yield row("train", "null_spread", 1e-6, "", "nats", 8)
    for about in ("truth=sample size=1", "truth=group size=10", "truth=group size=50"):
        for place, method in enumerate(SCORES):
            value = 0.1 * place - 0.2 + 0.01 * seed
            for metric in ("truth_spearman", "truth_pearson"):
                for end, more in {"": 0.0, "_low": -0.1, "_high": 0.1}.items():
                    yield row(method, f"{metric}{end}", value + more, about, n=120)
        yield row("train", "truth_spread", 1e-3, about, "nats", 120)
        yield row("train", "ceiling_spearman", 0.6 + 0.01 * seed, about, n=120)


def _audit(eps, seed):
    numbers = {"stated_epsilon": float(eps), "audit_epsilon": float(eps) / 2, "runs": 200, "tpr": 0.3, "fpr": 0.1}
    numbers["audit_most"] = 4.5
    for metric, value in numbers.items():
        yield row("audit", metric, value)


@functools.cache
def images(n):
    """[n, 1, SIDE, SIDE] bytes: brightness and stripes by sample and class."""
    draw = np.random.default_rng(7)
    return draw.integers(0, 256, size=(n, 1, SIDE, SIDE), dtype=np.uint8)


def scored(point="", seed=0, n=240, noise=NOISE, scores=SCORES, kept=True, same=0):
    """Scores that share a part with every other training and add noise of their own, more with privacy."""
    shared = np.random.default_rng(100 + same)
    more = 2.0 if "eps=1" in point else 1.0
    raw = []
    for place, method in enumerate(scores):
        own = np.random.default_rng([abs(hash_of(point)), seed, place])
        raw.append(shared.standard_normal(n) + more * noise.get(method, 0.8) * own.standard_normal(n))
    labels = np.arange(n) % CLASSES
    rows = np.arange(n) if kept else np.zeros(0, dtype=np.int64)
    shown = images(n) if kept else np.zeros((0, 1, 1, 1), dtype=np.uint8)
    values = np.array(raw, dtype=np.float32)
    return Scored(point, seed, tuple(scores), values, labels, np.zeros(n, dtype=bool), "minmax", rows, shown)


def hash_of(text):
    return sum((place + 1) * ord(letter) for place, letter in enumerate(text))


def store(folder, setting="table1", seeds=(0, 1, 2), n=240, scores=SCORES):
    """Cells' folders with scores.npz, as a run leaves them."""
    folders = []
    for seed, point in itertools.product(seeds, points(setting)):
        one = scored(label(point), seed, int(point.get("samples", n)), scores=scores)
        cell = folder / f"{setting}_s{seed}_{label(point).replace(' ', '_').replace('=', '-')}"
        cell.mkdir(parents=True)
        about = {"setting": setting, "seed": seed, "method": label(point) or "vog"}
        (cell / "cell.json").write_text(json.dumps(about), encoding="utf-8")
        np.savez_compressed(
            cell / "scores.npz", methods=np.array(one.methods), raw=one.raw, labels=one.labels, flipped=one.flipped,
            classes=np.array(CLASSES), image_rows=one.image_rows, images=one.images,
        )  # fmt: skip
        folders.append(cell)
    return folders
