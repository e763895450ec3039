"""What the claims about final accuracies need: IM1, IM2, IM4, IM6, IM7, IM11. Effects over seeds, no verdicts.

`runs` are a line a point and seed, as `reading.finals` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from experiments.core.report.effects import by_seed, count, line, over_seeds, paired, rank_correlation, slope
from experiments.core.subject import words
from experiments.impro import printed
from experiments.impro.reading import BASIC, at_cell, axes, cells, family, methods, ordered

Lines = Iterator[dict[str, Any]]
OURS = "fedimpro"
_COLUMNS = ("best", "last ten")
_METRIC = {"best": "best_accuracy", "last ten": "last_ten_accuracy"}
TABLES = ("table6", "table8", "table9", "table11")
"""The settings of IM11: momentum, FEMNIST, VGG-9, more clients selected."""


def of_seeds(runs: pd.DataFrame, column: str) -> dict[str, pd.Series]:
    """Algorithm -> its number by seed, of the runs of one cell."""
    found = {m: by_seed(runs[runs["method"] == m], column) for m in methods(runs)}
    return {method: values for method, values in found.items() if len(values)}


def best_other(of: dict[str, pd.Series], highest: bool = True) -> str:
    """The algorithm beside FedImpro with the best mean over the seeds that both have; "" without any."""
    seeds = of.get(OURS, pd.Series(dtype=float)).index
    means = {m: v[v.index.isin(seeds)].mean() for m, v in of.items() if m != OURS and v.index.isin(seeds).any()}
    if not means:
        return ""
    return (max if highest else min)(means, key=lambda m: means[m])


def ahead(runs: pd.DataFrame, claim: str = "IM1") -> Lines:
    """IM1: FedImpro less the best other algorithm (by its mean over seeds) and less each other one, by cell."""
    for column in (c for c in _COLUMNS if c in runs):
        first = []
        for cell in cells(runs):
            of = of_seeds(at_cell(runs, cell), column)
            best = best_other(of)
            for other in (m for m in of if best and m != OURS):
                effect = over_seeds(paired(of[OURS], of[other]))
                tag = {"best_other": "yes"} if other == best else {}
                yield line(claim, effect, "points", metric=_METRIC[column], **words(cell), minus=other, **tag)
                first += [effect.value > 0] if other == best else []
        if first:
            share = count(100 * sum(first) / len(first), len(first))
            yield line(claim, share, "%", share="cells", metric=_METRIC[column], where="fedimpro_is_first")


def heterogeneity(runs: pd.DataFrame) -> Lines:
    """IM2: the gain over FedAvg, and over the best other, at a = 0.05 less that at 0.1, paired by seed."""
    if "best" not in runs or "fl" not in axes(runs):
        return
    for cell in cells(runs):
        severe = words(cell)
        if not severe.get("fl", "").startswith("a0.05_"):
            continue
        mild = cell.replace("fl=a0.05_", "fl=a0.1_")
        pair = [of_seeds(at_cell(runs, name), "best") for name in (cell, mild)]
        for against in ("fedavg", "best_other"):
            others = [best_other(of) if against == "best_other" else against for of in pair]
            if all(OURS in of and other in of for of, other in zip(pair, others, strict=True)):
                gains = [paired(of[OURS], of[other]) for of, other in zip(pair, others, strict=True)]
                yield line("IM2", over_seeds(paired(*gains)), "points", **severe, less="a0.1", gain_over=against)


def scaffold(runs: pd.DataFrame) -> Lines:
    """IM4: SCAFFOLD less FedAvg by cell, and how many of its runs left the finite numbers."""
    for cell in cells(runs):
        of_cell = at_cell(runs, cell)
        for column in (c for c in _COLUMNS if c in runs):
            of = of_seeds(of_cell, column)
            if {"scaffold", "fedavg"} <= set(of):
                effect = over_seeds(paired(of["scaffold"], of["fedavg"]))
                yield line(
                    "IM4", effect, "points", metric=_METRIC[column], **words(cell), of="scaffold", minus="fedavg"
                )
        theirs = of_cell[of_cell["method"] == "scaffold"]
        if len(theirs) and "diverged" in theirs:
            told = count(float(theirs["diverged"].notna().sum()), len(theirs))
            yield line("IM4", told, "runs", metric="diverged", **words(cell), of="scaffold")


def depth(runs: pd.DataFrame) -> Lines:
    """IM6: FedImpro split after each block less split after the last one, and less FedAvg where the setting has it."""
    if "best" not in runs or "split" not in axes(runs):
        return
    runs = runs.assign(rest=runs["cell"].map(lambda cell: _without(cell, "split")))
    for rest, part in runs.groupby("rest", sort=False):
        ours = part[part["method"] == OURS]
        splits = ordered(ours["split"].unique())
        base = by_seed(part[part["method"] == "fedavg"], "best")
        for split in splits:
            of_split = by_seed(ours[ours["split"] == split], "best")
            told = {**words(str(rest)), "split": split}
            if split != splits[-1]:
                last = by_seed(ours[ours["split"] == splits[-1]], "best")
                yield line("IM6", over_seeds(paired(of_split, last)), "points", **told, minus=f"split_{splits[-1]}")
            if len(base):
                yield line("IM6", over_seeds(paired(of_split, base)), "points", **told, minus="fedavg")


def _without(cell: str, key: str) -> str:
    return " ".join(word for word in cell.split(" ") if word.partition("=")[0] != key)


def noise(runs: pd.DataFrame) -> Lines:
    """IM7: the slope of FedImpro's best accuracy over the noise's deviation, and each noise less none."""
    if "best" not in runs or "noise" not in axes(runs):
        return
    runs = runs[(runs["method"] == OURS) & runs["best"].notna()]
    runs = runs.assign(level=pd.to_numeric(runs["noise"], errors="coerce"), rest=runs["cell"].map(_noiseless))
    for rest, part in runs.groupby("rest", sort=False):
        slopes = [slope(of_seed["level"], of_seed["best"]) for _, of_seed in part.groupby("seed")]
        yield line("IM7", over_seeds(slopes), "points per unit of deviation", **words(str(rest)), slope="noise")
        none = by_seed(part[part["level"] == 0], "best")
        for level in sorted(set(part["level"].dropna()) - {0.0}):
            some = by_seed(part[part["level"] == level], "best")
            if len(none):
                told = {**words(str(rest)), "noise": f"{level:g}", "minus": "noise_0"}
                yield line("IM7", over_seeds(paired(some, none)), "points", **told)


def _noiseless(cell: str) -> str:
    return _without(cell, "noise")


def order(runs: pd.DataFrame) -> Lines:
    """IM11: FedImpro less the others, and the rank correlation of our algorithms' order with the paper's, by cell."""
    setting = family(str(runs["setting"].iloc[0])) if len(runs) else ""
    if setting not in TABLES:
        return
    yield from ahead(runs, "IM11")
    theirs = printed.table(setting)
    theirs = theirs[theirs["what"] == "acc"] if "what" in theirs else theirs
    if "best" not in runs:
        return
    for cell in cells(runs):
        of_cell = at_cell(runs, cell)
        first = of_cell.iloc[0]
        where = {"data": first["data"], "fl": first.get("fl") or BASIC, "per_round": first.get("per_round", "")}
        same = theirs
        for column in [c for c in where if c in theirs]:
            same = same[same[column] == where[column]]
        means = {method: values.mean() for method, values in of_seeds(of_cell, "best").items()}
        shared = [m for m in means if m in set(same["method"])]
        paper = same.set_index("method")["paper"]
        value = rank_correlation([means[m] for m in shared], [float(paper[m]) for m in shared])
        if len(shared) > 2:
            yield line("IM11", count(value, len(shared)), "", rank_correlation="with_the_paper", **words(cell))
