"""What the claims about consistent selection need: VG1 to VG5 and VG8. Effects over seeds, no verdicts.

Pairs of cells are of one seed: they begin alike and see the same batches. `ceiling` are pairs of seeds without privacy
and without any other change, and `minus=seeds` the difference, by seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.core.report.effects import Effect, by_seed, line, over_seeds, paired, slope
from experiments.core.subject import words
from experiments.vog.consistency import plain
from experiments.vog.likeness import METRICS, chance
from experiments.vog.pairs import ALL, SEED
from experiments.vog.reading import NONE, PAPERS

Lines = Iterator[dict[str, Any]]
GRADIENTS, USUAL = ("vog", "plis"), ("loss", "grad_norm")
"""The scores that the paper favours, and those that it compares them with."""

OF_GRIDS = ("overlap", "ssim", "bd")
"""What is told of single classes, as the paper's figures show them."""


def claim_line(
    claim: str, effect: Effect, unit: str, what: Mapping[str, object], ceiling: float = math.nan
) -> dict[str, Any]:
    """`effects.line` with a column `ceiling`, the same number between two seeds without a change."""
    told = {key.removesuffix("_"): value for key, value in what.items()}  # model_ of parsed rows is the axis model
    return {**line(claim, effect, unit, **told), "ceiling": ceiling}


def by_pair(
    lines: pd.DataFrame, between: str, kinds: Sequence[str], each: bool = False
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """(words, lines) of each two points that differ in `between` and each method: one seed, highest scores.

    Over all classes; with `each` a line for each class.
    """
    own = lines[
        (lines["between"] == between)
        & (lines["seeds"] == "same")
        & (lines["pick"] == "highest")
        & ((lines["class"] != ALL) if each else (lines["class"] == ALL))
        & lines["method"].isin(list(kinds))
    ]
    tag = {"classes": "each"} if each else {}
    for (where, first, second, method), part in own.groupby(["where", "first", "second", "method"], sort=False):
        yield {**words(str(where)), "method": str(method), "first": str(first), "second": str(second), **tag}, part


def ceilings(lines: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """[seed, metric]: the mean over the pairs of seeds it is in, at the points of `part` without privacy."""
    points = {plain(str(point)) for column in ("first_point", "second_point") for point in part[column].unique()}
    seeds = lines[
        (lines["between"] == SEED)
        & lines["first_point"].isin(points)
        & lines["method"].isin(part["method"].unique())
        & lines["pick"].isin(part["pick"].unique())
        & lines["class"].isin(part["class"].unique())
    ]
    return _by_either(seeds)


def _by_either(pairs: pd.DataFrame) -> pd.DataFrame:
    """[seed, metric]: the mean over the pairs of seeds that it is in."""
    metrics = list(METRICS)
    ends = [pairs[[end, *metrics]].rename(columns={end: "seed"}) for end in ("seed", "other_seed")]
    return pd.concat(ends).groupby("seed")[metrics].mean()


def _consistent(claim: str, lines: pd.DataFrame, part: pd.DataFrame, told: dict[str, str]) -> Lines:
    """Every metric of one method and pair of points, and less the pairs of seeds."""
    values, reached = part.groupby("seed")[list(METRICS)].mean(), ceilings(lines, part)
    for metric in OF_GRIDS if "classes" in told else METRICS:
        if values[metric].isna().all():
            continue
        about = {"metric": metric, **told}
        ceiling = float(reached[metric].mean()) if len(reached) else math.nan
        yield claim_line(claim, over_seeds(values[metric]), _unit(metric), about, ceiling)
        less = paired(values[metric], reached[metric])
        if len(less):
            yield claim_line(claim, over_seeds(less), _unit(metric), {**about, "minus": "seeds"})


def _unit(metric: str) -> str:
    return "of 25" if metric == "overlap" else ""


def private(lines: pd.DataFrame, claim: str, kinds: Sequence[str]) -> Lines:
    """VG1, VG2: each epsilon against none, by score; over all classes, and as the mean over single ones."""
    for each in (False, True):
        for told, part in by_pair(lines, "eps", kinds, each):
            if told["second"] == NONE:
                yield from _consistent(claim, lines, part, told)


def gap(lines: pd.DataFrame) -> Lines:
    """VG2: how much more consistent VoG and PLIS are than loss and gradient norm, paired by seed."""
    parts = {(told["method"], *_place(told)): (told, part) for told, part in by_pair(lines, "eps", PAPERS)}
    for (method, *place), (told, part) in parts.items():
        for other in USUAL if method in GRADIENTS and told["second"] == NONE else ():
            if (other, *place) not in parts:
                continue
            for metric in METRICS:
                less = paired(by_seed(part, metric), by_seed(parts[other, *place][1], metric))
                if len(less):
                    yield claim_line("VG2", over_seeds(less), _unit(metric), {"metric": metric, **told, "minus": other})


def _place(told: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in told.items() if key != "method")


def epsilons(lines: pd.DataFrame) -> Lines:
    """VG3: VoG between two epsilons."""
    for each in (False, True):
        for told, part in by_pair(lines, "eps", ("vog",), each):
            if told["second"] != NONE:
                yield from _consistent("VG3", lines, part, told)


def plis(lines: pd.DataFrame) -> Lines:
    """VG8: PLIS between two epsilons; 4 and 8 less 1 and 8, and less 1 and 4, paired by seed."""
    found: dict[tuple[str, ...], dict[tuple[str, str], pd.DataFrame]] = {}
    for told, part in by_pair(lines, "eps", ("plis",)):
        if told["second"] == NONE:
            continue
        yield from _consistent("VG8", lines, part, told)
        place = tuple(f"{k}={v}" for k, v in told.items() if k not in ("first", "second", "method"))
        found.setdefault(place, {})[told["first"], told["second"]] = part
    for place, of in found.items():
        for other in (("1", "8"), ("1", "4")):
            for metric in METRICS if ("4", "8") in of and other in of else ():
                less = paired(by_seed(of["4", "8"], metric), by_seed(of[other], metric))
                about = {**words(" ".join(place)), "method": "plis", "first": "4", "second": "8"}
                if len(less):
                    against = f"{other[0]}_and_{other[1]}"
                    yield claim_line(
                        "VG8", over_seeds(less), _unit(metric), {"metric": metric, **about, "minus": against}
                    )


def models(lines: pd.DataFrame, sizes: dict[str, float]) -> Lines:
    """VG4: VoG between two models, and between two seeds of each model over its size.

    Args:
        lines: as `pairs.measured` makes them. sizes: point -> parameters of its model.
    """
    for axis in ("model_", "task"):
        for told, part in by_pair(lines, axis, ("vog",)):
            yield from _consistent("VG4", lines, part, told)
    seeds = _of_points(lines, "vog")
    for point, own in seeds.groupby("first_point", sort=False):
        if seeds["first_point"].map(sizes).nunique() > 1:
            for metric in ("spearman", "overlap"):
                about = {"metric": metric, **words(str(point)), "method": "vog", "between": SEED}
                parameters = {"parameters": f"{sizes[str(point)]:.0f}"} if str(point) in sizes else {}
                yield claim_line("VG4", over_seeds(_by_either(own)[metric]), _unit(metric), {**about, **parameters})


def _of_points(lines: pd.DataFrame, method: str) -> pd.DataFrame:
    """Pairs of seeds, highest scores of all classes of a method."""
    own = lines[(lines["between"] == SEED) & (lines["class"] == ALL) & (lines["pick"] == "highest")]
    return own[own["method"] == method]


def size(lines: pd.DataFrame) -> Lines:
    """VG5: VoG between two epsilons, and between two seeds, by training samples; the slope over log10 of them.

    Of seeds, the mean over the pairs that each is in.
    """
    found: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for told, part, values, ceiling in _sized(lines):
        for metric in ("overlap", "spearman", "ssim"):
            if values[metric].notna().any():
                about = {"metric": metric, **told, "chance": f"{chance(int(part['n'].min())):.3g}"}
                yield claim_line("VG5", over_seeds(values[metric]), _unit(metric), about, ceiling[metric])
        rest = tuple(f"{key}={value}" for key, value in told.items() if key != "samples")
        found.setdefault(rest, []).append(values.assign(log=math.log10(float(told["samples"]))).reset_index())
    for rest, parts in found.items():
        joined = pd.concat(parts)
        for metric in ("overlap", "spearman") if len(parts) > 1 else ():
            slopes = [slope(one["log"], one[metric]) for _, one in joined.groupby("seed")]
            about = {"metric": metric, **words(" ".join(rest)), "slope": "log10_samples"}
            yield claim_line("VG5", over_seeds(slopes), f"{_unit(metric)} a factor of 10".strip(), about)


def _sized(lines: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame, pd.DataFrame, dict[str, float]]]:
    """(words, lines, [seed, metric], ceilings) of VoG wherever the number of samples is an axis."""
    none = dict.fromkeys(METRICS, math.nan)
    for told, part in by_pair(lines, "eps", ("vog",)):
        if "samples" in told:
            ceiling = {str(metric): float(value) for metric, value in ceilings(lines, part).mean().items()}
            yield told, part, part.groupby("seed")[list(METRICS)].mean(), none | ceiling
    for point, own in _of_points(lines, "vog").groupby("first_point", sort=False):
        if "samples" in (told := words(str(point))):
            yield {**told, "method": "vog", "between": SEED}, own, _by_either(own), none
