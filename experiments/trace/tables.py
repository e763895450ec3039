"""Tables that every setting has, a user's own too: averages over rounds, all methods, the configuration as run."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, about, filled, over_seeds
from experiments.trace import blanks
from experiments.trace.reading import (
    METHODS,
    at,
    axes,
    by_place,
    chance,
    family,
    highest_accuracy,
    main_scope,
    pick,
    points,
    printed,
    scopes,
    split_task,
    stated,
)

_SCORES = {
    "rank_most": "rank of most samples", "hit_most": "most samples first, %", "hit_truth": "truth's first, %",
    "pearson_truth": "Pearson with truth", "spearman_truth": "Spearman with truth", "seconds": "seconds per input",
}  # fmt: skip
_AVERAGES = {
    "localization": {"images": "correct.image.avg", "texts": "correct.text.avg", "": "correct.all.avg"},
    "alpha": {"": "figure3.all.avg"},
    "faults": {"": "mispred.tracefl.avg"},
    "privacy": {"": "dp.avg"},
    "per_round": {"": "scale.clients20_to_50_per_round.tracefl"},
}
"""Setting -> kind of data ("" all) -> the paper's average over all points."""

_CONFIGURED = (
    "clients", "participants", "rounds", "alpha", "faulty", "train_samples", "test_samples", "labels_per_client",
    "classes", "parameters",
)  # fmt: skip


def averages(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Accuracy of the model and localization accuracy of TraceFL, every point of the grid, the paper's beside them."""
    if pick(rows, "inputs", method="inputs").empty:
        return None
    lines = [_average(rows, point, scope) for scope in scopes(rows) for point in points(rows)]
    if len(points(rows)) > 1:
        lines += [line for scope in scopes(rows) for line in _overall(rows, scope)]
    caption = (
        "Averages over rounds, as the paper takes them: accuracy is the global model's in its best round, TraceFL the "
        "mean localization accuracy over the rounds that have inputs, both in % and averaged over seeds; low, high: "
        "the least and the greatest seed; chance: the accuracy of naming a participant at random; rounds, and those "
        "among them without any prediction to trace, of all seeds together; inputs: a round's, on average. Rows `all` "
        "weigh every round the same."
    )
    frame = filled(pd.DataFrame([line for line in lines if line]))
    return Artefact(name, frame, None, caption, table_md=True, blanks=blanks.of_averages(axes(rows)))


def _average(rows: pd.DataFrame, point: str, scope: str) -> dict[str, Any]:
    """One line of the table; empty where the point does not trace such predictions."""
    of_point = at(rows, point)
    counts = _counted(at(of_point, point, scope))
    if not counts:
        return {}
    first, setting = of_point.iloc[0], str(of_point["setting"].iloc[0])
    subject = f"{point} scope={scope}".strip()
    return {
        **{c: str(first[c]) for c in (*ABOUT, *axes(rows), "dataset", "model")},
        "scope": scope, **counts, "accuracy": highest_accuracy(of_point),
        "accuracy (paper)": printed(setting, "highest:accuracy", "global", point) if scope == "correct" else math.nan,
        **_localized(at(of_point, point, scope)),
        "TraceFL (paper)": printed(setting, "mean:localization", "tracefl", subject),
        "seeds": of_point["seed"].nunique(),
    }  # fmt: skip


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    """Rounds, those without inputs, and inputs a round; empty without any."""
    counts = pick(rows, "inputs", method="inputs")["value"]
    if counts.empty:
        return {}
    return {"rounds": len(counts), "without inputs": int((counts == 0).sum()), "inputs": float(counts.mean())}


def _localized(rows: pd.DataFrame) -> dict[str, Any]:
    """Chance, and TraceFL's mean, low, high and worst round."""
    localized = pick(rows, "localization", method="tracefl")
    if localized.empty:
        return {"chance": chance(rows), **dict.fromkeys(("TraceFL", "low", "high", "worst round"), math.nan)}
    seeds = over_seeds(localized, ["setting"]).iloc[0]
    low, high, worst = float(seeds["low"]), float(seeds["high"]), float(localized["value"].min())
    return {"chance": chance(rows), "TraceFL": float(seeds["mean"]), "low": low, "high": high, "worst round": worst}


def _overall(rows: pd.DataFrame, scope: str) -> list[dict[str, Any]]:
    """Averages over all points, and over images and texts where a setting has both."""
    of_scope, setting = rows[rows["scope"] == scope], str(rows["setting"].iloc[0])
    texts = of_scope["task"].map(lambda task: split_task(task)[0] in ("bert", "gpt"))
    kinds = {"images": of_scope[~texts], "texts": of_scope[texts]} if texts.any() and not texts.all() else {}
    lines = []
    for kind, part in {**kinds, "": of_scope}.items():
        keys = _AVERAGES.get(family(setting), {}) if scope == main_scope(rows) else {}
        paper = stated(f"prose.{keys[kind]}") if kind in keys else math.nan
        if counts := _counted(part):
            head = {**about(rows), axes(rows)[0]: f"all {kind}".strip(), "scope": scope}
            lines.append(
                {**head, **counts, **_localized(part), "TraceFL (paper)": paper, "seeds": part["seed"].nunique()}
            )
    return lines


def compared(rows: pd.DataFrame, name: str) -> Artefact | None:
    """All methods beside each other: localization, ranks, agreement with leave-one-out truth, time."""
    measured = pick(rows, ["localization", *_SCORES], method=list(METHODS))
    if measured.empty:
        return None
    by = [*ABOUT, *axes(rows), "scope", "method"]
    wide = over_seeds(measured[measured["metric"] == "localization"], by).rename(columns={"mean": "localization"})
    wide = wide.merge(_chance(rows, by[:-1]), on=by[:-1], how="left")
    for metric, label in _SCORES.items():
        part = measured[measured["metric"] == metric]
        if len(part):
            means = over_seeds(part, by)[[*by, "mean"]].rename(columns={"mean": label})
            wide = wide.merge(means, on=by, how="left")
    counts = pick(rows, "inputs", method="inputs")
    lost = counts.assign(value=counts["value"] == 0).groupby(by[:-1])["value"].sum()
    wide["rounds without inputs"] = wide.set_index(by[:-1]).index.map(lost)
    caption = (
        "All methods, mean over rounds and seeds. localization: % of inputs whose first-ranked client is one that "
        "holds the label (of mispredictions: is faulty), low and high of the seeds, and chance, naming a participant "
        "at random. most samples: the rank (1 best) of the participant with most samples of the label, and how often "
        "it is first. truth: how far the predicted logit falls when a participant is left out of the round; how often "
        "its first is the method's, and the correlation over participants, averaged over inputs. Cosine, norm and "
        "FedDebug see no input."
    )
    frame = filled(by_place(wide, [*axes(rows), "scope", "method"]))
    return Artefact(name, frame, None, caption, table_md=True, blanks=blanks.METHODS)


def _chance(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    means = over_seeds(pick(rows, "chance", method="chance"), by)
    return means[[*by, "mean"]].rename(columns={"mean": "chance"})


def configuration(rows: pd.DataFrame, name: str) -> Artefact | None:
    """What was run at every point of the grid; with differential privacy also its epsilon."""
    config = pick(rows, "config")
    config = pd.concat([config, pick(rows, ["epsilon", "epsilon_equal"]).assign(key=lambda f: f["metric"])])
    if config.empty:
        return None
    by = [*ABOUT, *axes(rows), "dataset", "partition", "model"]
    config["key"] = config["key"].map(lambda key: f"{key} as run" if key in by else key)  # clients asked for, and left
    wide = config.groupby([*by, "key"], sort=False)["value"].mean().unstack("key").reset_index()
    known = [key for key in (*_CONFIGURED, *(f"{key} as run" for key in by)) if key in wide and key not in by]
    others = sorted(set(wide.columns) - {*by, *known})
    caption = "The configuration as run, mean over seeds."
    frame = by_place(wide[[*by, *known, *others]], axes(rows))
    return Artefact(name, frame, None, caption, table_md=True, blanks=blanks.of_configuration([*known, *others]))
