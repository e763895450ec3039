"""What the claims about the worth of samples need: VG6, VG7, VG9, VG10, VG11. Effects over seeds, no verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from experiments.core.report.effects import Effect, by_seed, over_seeds, paired
from experiments.core.subject import words
from experiments.vog import removed
from experiments.vog.claims_consistency import GRADIENTS, USUAL, Lines, claim_line
from experiments.vog.reading import CONTROLS, epsilon, pick, points, without


def own_interval(rows: pd.DataFrame, metric: str) -> Effect:
    """The mean over seeds with its interval; of one seed the number with the interval `<metric>_low`, `_high`.

    Args:
        rows: of one point, method and whatever tells the numbers of a metric apart.
    """
    effect = over_seeds(by_seed(rows[rows["metric"] == metric], "value"))
    if effect.n != 1:
        return effect
    low, high = (rows[rows["metric"] == f"{metric}_{end}"]["value"] for end in ("low", "high"))
    if len(low) and len(high):
        return Effect(effect.value, float(low.iloc[0]), float(high.iloc[0]), effect.n)
    return effect


def _with_ends(rows: pd.DataFrame, metric: str, **wanted: str | Sequence[str]) -> pd.DataFrame:
    return pick(rows, [metric, f"{metric}_low", f"{metric}_high"], **wanted)


def difficult(rows: pd.DataFrame) -> Lines:
    """VG6: every score against held-out loss and error, and the AUROC of planted labels (chance: 0, 0, 0.5)."""
    for metric, key in (("difficulty_spearman", "against"), ("noise_auroc", "")):
        told = _with_ends(rows, metric)
        by = ["point", "method", *([key] if key else [])]
        for names, part in told.groupby(by, sort=False):
            about = {"metric": metric, **words(str(names[0])), "method": names[1], **({key: names[2]} if key else {})}
            yield claim_line("VG6", own_interval(part, metric), "", {**about, **_samples(part)})


def _samples(part: pd.DataFrame) -> dict[str, str]:
    """How many samples a number rests on."""
    return {"samples_used": f"{part['n'].min():.0f}"} if part["n"].notna().any() else {}


def more_private(rows: pd.DataFrame) -> Lines:
    """VG10: VG6's number at a smaller epsilon less that at each larger one, paired by seed."""
    for metric, key in (("difficulty_spearman", "against"), ("noise_auroc", "")):
        told = pick(rows, metric)
        told = told.assign(place=[without(point, "eps") for point in told["point"]])
        told = told[told["eps"] != ""] if "eps" in told else told.iloc[:0]
        by = ["place", "method", *([key] if key else [])]
        for names, part in told.groupby(by, sort=False):
            known = sorted(part["eps"].unique(), key=epsilon)
            for i, low in enumerate(known):
                for high in known[i + 1 :]:
                    less = paired(*(by_seed(part[part["eps"] == e], "value") for e in (low, high)))
                    about = {"metric": metric, **words(str(names[0])), "method": names[1]}
                    about |= {key: names[2]} if key else {}
                    if len(less):
                        yield claim_line("VG10", over_seeds(less), "", {**about, "eps": low, "minus": f"eps_{high}"})


def plis_and_vog(rows: pd.DataFrame, grids: pd.DataFrame) -> Lines:
    """VG7: correlation of PLIS and VoG, over all and over the extremes, and the overlap of their grids.

    Args:
        rows: as `reading.parse` makes them. grids: as `between_methods.lines` makes them, for the grids.
    """
    for metric in ("scores_pearson", "scores_spearman"):
        told = _with_ends(rows, metric)
        pairs = zip(told["method"], told["against"], strict=True)
        told = told[pd.Series([set(pair) == set(GRADIENTS) for pair in pairs], index=told.index, dtype=bool)]
        for (point, part_of), part in told.groupby(["point", "pick"], sort=False):
            about = {"metric": metric, **words(str(point)), "first": "vog", "second": "plis", "pick": part_of}
            yield claim_line("VG7", own_interval(part, metric), "", {**about, **_samples(part)})
    own = grids[(grids["first"] == "vog") & (grids["second"] == "plis") & grids["part"].isin(["highest", "lowest"])]
    for (point, part_of, metric), part in own.groupby(["point", "part", "metric"], sort=False):
        about = {"metric": metric, **words(str(point)), "first": "vog", "second": "plis", "pick": part_of}
        yield claim_line("VG7", over_seeds(by_seed(part, "value")), "of 25" if metric == "overlap" else "", about)


def removal(rows: pd.DataFrame) -> Lines:
    """VG9: accuracy without the highest of VoG or PLIS less that of loss or norm; every score less the controls."""
    known = pick(rows, removed.ACCURACY)
    for point in points(known) if len(known) else []:
        found = removed.of_seeds(rows, point)
        place = words(point)
        for first in GRADIENTS:
            for second in USUAL:
                if (first, "highest") in found and (second, "highest") in found:
                    less = paired(found[first, "highest"], found[second, "highest"])
                    yield claim_line("VG9", over_seeds(less), "points", {**place, "method": first, "minus": second})
        for (method, end), values in found.items():
            about = {**place, "method": method, "pick": end}
            if method in CONTROLS:
                yield claim_line("VG9", over_seeds(values), "%", {**place, "method": method})
                continue
            for name in CONTROLS:
                less = paired(values, removed.control(found, name))
                if len(less):
                    yield claim_line("VG9", over_seeds(less), "points", {**about, "minus": name})
            if end == "highest" and (method, "lowest") in found:
                less = paired(values, found[method, "lowest"])
                yield claim_line("VG9", over_seeds(less), "points", {**about, "minus": "lowest"})


def truth(rows: pd.DataFrame) -> Lines:
    """VG11: every score against leaving samples or groups out; the ceiling is the truth of another seed.

    `null` is the spread that rounding alone makes over that of the truth.
    """
    told = _with_ends(rows, "truth_spearman")
    reached = pick(rows, "ceiling_spearman")
    for names, part in told.groupby(["point", "method", "truth", "size", "release"], sort=False):
        point, method, kind, size, private = map(str, names)
        at = {"point": point, "truth": kind, "size": size}
        ceiling = reached[(reached[list(at)] == list(at.values())).all(axis=1)]["value"]
        about = {"metric": "truth_spearman", **words(point), "method": method, "truth": kind, "size": size}
        best = float(ceiling.mean()) if len(ceiling) else math.nan
        about |= {"release": private, **_samples(part)}
        yield claim_line("VG11", own_interval(part, "truth_spearman"), "", about, best)
    yield from _floor(rows)


def _floor(rows: pd.DataFrame) -> Lines:
    spreads, null = pick(rows, "truth_spread"), pick(rows, "null_spread")
    for (point, kind, size), part in spreads.groupby(["point", "truth", "size"], sort=False):
        own = by_seed(null[null["point"] == point], "value")
        share = (own / by_seed(part, "value")).dropna()
        if len(share):
            about = {**words(str(point)), "truth": kind, "size": size}
            yield claim_line("VG11", over_seeds(share), "of the truth's spread", {"metric": "null", **about})
