"""Which two grids of images a figure shows (Fig. 2, 4 to 10), and what stands beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from experiments.core.subject import words
from experiments.vog import printed
from experiments.vog.compared import Compared
from experiments.vog.consistency import pair_words, place_words, plain
from experiments.vog.likeness import Side, chance, grids
from experiments.vog.pairs import ALL, SEED, Pair, data_of, pairs
from experiments.vog.reading import NONE, epsilon, label_of

_SHOWN = 3  # pairs in one figure
_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NAMED = {"cifar10": _NAMES, "cinic10": _NAMES}


@dataclass(frozen=True)
class Wanted:
    """Two grids that a figure of the paper shows.

    Attributes:
        method: the score; other: that of the second grid, "" for the same. between: the axis, "" for one cell.
        values: on that axis; empty: any two. eps: at which privacy, where the axis is another; "": at any.
        label: the class; None: all. lowest: of the lowest scores. paper: its key in reference.csv, after "figure".
    """

    method: str = "vog"
    between: str = "eps"
    values: tuple[str, ...] = ()
    label: int | None = None
    lowest: bool = False
    eps: str = ""
    other: str = ""
    paper: str = ""


FIGURES = {
    "table1": {
        "figure4": Wanted(
            "grad_norm", "eps", ("4", NONE), 2, paper="4.cifar10.bird.resnet18.grad_norm.dp_eps4_vs_nondp"
        ),
        "figure6": Wanted("vog", "eps", ("1", "8"), 0, paper="6.cifar10.airplane.resnet18.vog.eps1_vs_eps8"),
        "figure8": Wanted("vog", "eps", ("4", "8"), 0, paper="8.cifar10.airplane.resnet9.vog.eps4_vs_eps8"),
        "figure9": Wanted(
            "vog", "", (), None, True, "1", "plis", "9.cifar10.resnet18.eps1.smallest_vog_vs_smallest_plis"
        ),
        "figure10": Wanted("plis", "eps", ("4", NONE), None, True),
    },
    "models": {
        "figure2": Wanted("vog", "model_", (), 2, eps="4", paper="2.cifar10.bird.vog.wrn50_eps4_vs_resnet101_eps4"),
    },
    "xray": {
        "figure5": Wanted("vog", "model_", (), eps=NONE, paper="5.pppd.vog.nonprivate.resnet18_vs_resnext101"),
        "figure7": Wanted("vog", "eps", ("1", "8"), paper="7.pppd.resnet18.vog.eps1_vs_eps8"),
    },
}  # fmt: skip
"""Setting -> figure of the paper -> what it shows."""


@dataclass(frozen=True)
class Shown:
    """Two grids: their sides, class and end, what they are, and `numbers`: ssim, bd, overlap, each as in `beside`."""

    first: Side
    second: Side
    label: int | None
    lowest: bool
    place: str
    titles: tuple[str, str]
    numbers: dict[str, dict[str, float]]


def found(compared: Compared, wanted: Wanted) -> list[Shown]:
    """The pairs of cells of the first seed that `wanted` asks for, at most three."""
    shown: list[Shown] = []
    for first, second, place, titles in _sides(compared, wanted):
        label = wanted.label if wanted.label in (None, *first.scored.classes) else first.scored.classes[0]
        if first.grid(label, wanted.lowest) is not None and len(shown) < _SHOWN:
            numbers = beside(compared, first, second, replace(wanted, label=label))
            shown.append(Shown(first, second, label, wanted.lowest, place, titles, numbers))
    return shown


def _sides(compared: Compared, wanted: Wanted) -> Iterator[tuple[Side, Side, str, tuple[str, str]]]:
    firsts = [one for one in compared.cells if one.seed == min(cell.seed for cell in compared.cells)]
    if not wanted.between:
        for one in firsts:
            told = words(one.point)
            if {wanted.method, wanted.other} <= set(one.methods) and wanted.eps in ("", told.get("eps", NONE)):
                titles = label_of(wanted.method), label_of(wanted.other)
                yield Side(one, wanted.method), Side(one, wanted.other), place_words(one.point), titles
        return
    for pair in pairs(compared.cells if wanted.between == SEED else firsts):
        asked = pair.between == wanted.between and wanted.values in ((), pair.values) and _at(pair, wanted.eps)
        if asked and wanted.method in pair.first.methods and wanted.method in pair.second.methods:
            sides = Side(pair.first, wanted.method), Side(pair.second, wanted.method)
            yield (*sides, place_words(pair.where), _titles(pair))


def _at(pair: Pair, eps: str) -> bool:
    return pair.between == "eps" or eps in ("", words(pair.where).get("eps", NONE))


def _titles(pair: Pair) -> tuple[str, str]:
    if pair.between == SEED:
        return f"seed {pair.first.seed}", f"seed {pair.second.seed}"
    first, second = (pair_words(pair.between, value, value).partition(" and ")[0] for value in pair.values)
    return first, second


def usual(compared: Compared) -> Wanted:
    """What a setting without a figure of the paper's shows: the smallest epsilon against none, else two seeds."""
    kinds = [method for one in compared.cells for method in one.methods]
    method = "vog" if "vog" in kinds or not kinds else kinds[0]
    told = [pair for pair in pairs(compared.cells) if pair.same_seed]
    private = [pair.values[0] for pair in told if pair.between == "eps" and pair.values[1] == NONE]
    if private:
        return Wanted(method, "eps", (min(private, key=epsilon), NONE))
    return Wanted(method, next((pair.between for pair in told), SEED))


def beside(compared: Compared, a: Side, b: Side, wanted: Wanted) -> dict[str, dict[str, float]]:
    """ssim, bd, overlap -> value, ceiling (pairs of seeds without privacy), chance (random images), paper."""
    told = grids(a, b, wanted.label, wanted.lowest)
    seeds, name = _ceilings(compared, a, b, wanted), ALL if wanted.label is None else str(wanted.label)
    floors = compared.floors
    floors = floors[(floors["data"] == data_of(a.scored.point)) & (floors["class"] == name)]
    chances = dict(zip(floors["metric"], floors["value"], strict=True))
    chances["overlap"] = chance(int(a.scored.of_class(wanted.label).sum()))
    paper = printed.figure(f"figure{wanted.paper}") if wanted.paper else {}
    return {
        metric: {
            "value": told[metric], "ceiling": seeds.get(metric, math.nan), "chance": chances.get(metric, math.nan),
            "paper": paper.get(metric, math.nan),
        }
        for metric in ("ssim", "bd", "overlap")
    }  # fmt: skip


def _ceilings(compared: Compared, a: Side, b: Side, wanted: Wanted) -> dict[str, float]:
    lines = compared.lines
    own = lines[
        (lines["between"] == SEED)
        & lines["first_point"].isin([plain(a.scored.point), plain(b.scored.point)])
        & lines["method"].isin([a.method, b.method])
        & (lines["class"] == (ALL if wanted.label is None else str(wanted.label)))
        & (lines["pick"] == ("lowest" if wanted.lowest else "highest"))
    ]
    known = {metric: own[metric].dropna() for metric in ("ssim", "bd", "overlap")}
    return {metric: fmean(values) for metric, values in known.items() if len(values)}


def frame(shown: list[Shown]) -> pd.DataFrame:
    """A line a pair and number: place, first, second, seed, method, class, pick, metric, value and what is beside."""
    lines: list[dict[str, Any]] = [
        {
            "place": one.place, "first": one.titles[0], "second": one.titles[1], "seed": one.first.scored.seed,
            "method": label_of(one.first.method), "class": class_words(one),
            "pick": "lowest" if one.lowest else "highest", "metric": metric, **numbers,
        }
        for one in shown
        for metric, numbers in one.numbers.items()
    ]  # fmt: skip
    return pd.DataFrame(lines)


def class_words(one: Shown) -> str:
    """The class of a pair in words: "class 2 (bird)", "all classes"."""
    if one.label is None:
        return "all classes"
    names = _NAMED.get(data_of(one.first.scored.point), ())
    return f"class {one.label}" + (f" ({names[one.label]})" if one.label < len(names) else "")
