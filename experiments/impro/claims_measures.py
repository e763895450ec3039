"""What the claims about theory, privacy and cost need: IM9, IM10, IM12, IM13."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.effects import by_seed, line, over_seeds, paired, rank_correlation
from experiments.core.subject import words
from experiments.impro.claims import OURS, Lines
from experiments.impro.reading import at_cell, cells, pick, without


def variance(rows: pd.DataFrame) -> Lines:
    """IM9: the measured ratio of gradient variances after and before decoupling, and less the theorem's bound."""
    ratios, bounds = pick(rows, "variance_ratio"), pick(rows, "variance_bound")
    by = ["part", "objective", "sampled", "over"]
    for (point, *of_what), of in ratios.groupby(["point", *by], sort=False):
        told = {**words(str(point)), **dict(zip(by, of_what, strict=True))}
        ratio = by_seed(of, "value")
        yield line("IM9", over_seeds(ratio), "", variance="ratio", **told)
        theirs = bounds[(bounds["point"] == point) & bounds["part"].isin([told["part"], ""])]
        if len(theirs):
            bound = by_seed(theirs, "value")
            yield line("IM9", over_seeds(bound), "", variance="bound", **told)
            yield line("IM9", over_seeds(paired(ratio, bound)), "", variance="ratio", minus="bound", **told)


def generalisation(rows: pd.DataFrame) -> Lines:
    """IM10: rank correlation of contribution and conditional Wasserstein distance over clients, mean over rounds."""
    distances, contributions = pick(rows, "wasserstein"), pick(rows, "contribution")
    if distances.empty or contributions.empty:
        return
    on = ["point", "seed", "client", "round"]
    paid = contributions.groupby(on, dropna=False)["value"].mean().rename("contribution")
    for (point, space, how), of in distances.groupby(["point", "space", "how"], sort=False):
        both = (
            of.groupby(on, dropna=False)["value"].mean().reset_index().join(paid, on=on).dropna(subset="contribution")
        )
        each = [
            {"seed": seed, "value": rank_correlation(one["value"], one["contribution"])}
            for (seed, _), one in both.groupby(["seed", "round"], dropna=False)
        ]
        if each:
            values = by_seed(pd.DataFrame(each), "value")
            told = {**words(str(point)), "space": space, "how": how, "clients": both["client"].nunique()}
            yield line("IM10", over_seeds(values), "", rank_correlation="distance_and_contribution", **told)


def inversion(rows: pd.DataFrame) -> Lines:
    """IM12: similarity of reconstructions to the original images by what was shared, and less a class-mean image's."""
    for metric, unit in (("ssim", ""), ("psnr", "dB")):
        told = pick(rows, metric)
        told = told.assign(place=told["point"].map(lambda point: without(point, "noise")))
        for place, of in told.groupby("place", sort=False):
            blank = by_seed(of[of["source"] == "class_mean"], "value")
            for (source, level), part in of.groupby(["source", "noise"], sort=False):
                what = {"metric": metric, **words(str(place)), "source": source, "noise": level}
                values = by_seed(part, "value")
                yield line("IM12", over_seeds(values), unit, **what)
                if source != "class_mean" and len(blank):
                    yield line("IM12", over_seeds(paired(values, blank)), unit, **what, minus="class_mean")


_COSTS = {"upload_bytes": "bytes", "download_bytes": "bytes", "state_bytes": "bytes"}


def cost(rows: pd.DataFrame) -> Lines:
    """IM13: bytes of FedImpro less FedAvg's a participant and round, and its seconds as per cent more."""
    known = rows[rows["metric"].isin([*_COSTS, "train_seconds"])]
    for cell in cells(known) if len(known) else []:
        of_cell = at_cell(known, cell)
        ours, base = (of_cell[of_cell["method"] == method] for method in (OURS, "fedavg"))
        for metric, unit in _COSTS.items():
            less = paired(_values(ours, metric), _values(base, metric))
            if len(less):
                yield line("IM13", over_seeds(less), unit, metric=metric, **words(cell), minus="fedavg")
        theirs = _values(base, "train_seconds")
        more = 100 * paired(_values(ours, "train_seconds"), theirs) / theirs
        if len(more.dropna()):
            yield line("IM13", over_seeds(more), "% more", metric="train_seconds", **words(cell), than="fedavg")


def _values(rows: pd.DataFrame, metric: str) -> pd.Series:
    return by_seed(rows[rows["metric"] == metric], "value")
