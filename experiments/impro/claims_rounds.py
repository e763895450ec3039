"""What the claims about the course of training need: IM3 (rounds to a target), IM5 (divergence), IM8 (by layer)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.core.report.effects import by_seed, count, line, over_seeds, paired, rank_correlation, slope
from experiments.core.subject import words
from experiments.impro.claims import OURS, Lines, best_other
from experiments.impro.figure_divergence import is_weight, layers
from experiments.impro.reading import at_cell, cells, curves, methods
from experiments.impro.targets import to_targets

PHASES = ("first", "middle", "last")
"""Thirds of a run's rounds."""


def speed(rows: pd.DataFrame) -> Lines:
    """IM3: rounds of FedImpro less those of each other algorithm, by cell and kind of target.

    A run that never reaches the target counts with the rounds that were run (a restricted mean), `reached` says how
    many did; `sooner` is the share of seeds in which FedImpro came first, of those in which either reached it.
    """
    reached = to_targets(rows)
    if reached.empty:
        return
    reached = reached.assign(held=reached["rounds"].fillna(reached["run"]))
    for (cell, goal), part in reached.groupby(["cell", "goal"], sort=False):
        told = {**words(str(cell)), "target": goal}
        for method in methods(part) if OURS in set(part["method"]) else []:
            of_method = part[part["method"] == method]
            share = count(float(of_method["rounds"].notna().sum()), len(of_method))
            yield line("IM3", share, "runs", reached=method, **told)
        yield from _sooner(part, told)


def _sooner(part: pd.DataFrame, told: dict[str, str]) -> Lines:
    held = {m: by_seed(part[part["method"] == m], "held") for m in methods(part)}
    soonest = best_other(held, highest=False)
    for other in (m for m in held if soonest and m != OURS):
        tag = {"best_other": "yes"} if other == soonest else {}
        less = paired(held[OURS], held[other])
        yield line("IM3", over_seeds(less), "rounds", **told, minus=other, **tag)
        either = part[part["method"].isin([OURS, other]) & part["rounds"].notna()]["seed"].unique()
        known = less[less.index.isin(either)]
        if len(known):
            share = count(100 * float((known < 0).mean()), len(known))
            yield line("IM3", share, "%", **told, sooner_than=other, **tag)


def phases(curve: pd.DataFrame) -> pd.DataFrame:
    """`curve` with `phase`: which third of the rounds, from 1 to the last of the curve, a row belongs to."""
    last = float(curve["round"].max())
    place = np.minimum((3 * (curve["round"] - 1) / last).astype(int), 2)
    return curve.assign(phase=[PHASES[i] for i in place])


def divergence(rows: pd.DataFrame) -> Lines:
    """IM5: FedImpro's weight divergence in each third of the run less that of each other algorithm, also in %.

    Of a third the median round counts: one that a run leaves the finite numbers with would be all of a mean.
    """
    measured = curves(rows, "weight_divergence")
    for cell in cells(measured) if len(measured) else []:
        of_cell = phases(at_cell(measured, cell))
        for phase in PHASES:
            of_phase = of_cell[of_cell["phase"] == phase]
            usual = {m: _usual(of_phase[of_phase["method"] == m]) for m in methods(of_phase)}
            for other in (m for m in usual if OURS in usual and m != OURS):
                told = {**words(cell), "phase": phase, "minus": other}
                yield line("IM5", over_seeds(paired(usual[OURS], usual[other])), "L2", **told)
                share = 100 * paired(usual[OURS], usual[other]) / usual[other]
                yield line("IM5", over_seeds(share), "% of the other's", **told)


def _usual(rows: pd.DataFrame) -> pd.Series:
    """Seed -> the median over its rounds."""
    return rows.groupby("seed")["value"].median()


def layer_slopes(measured: pd.DataFrame) -> pd.DataFrame:
    """How fast each tensor's divergence shrinks: the slope of its logarithm over the share of the run.

    Args:
        measured: as `figure_divergence.layers` makes it, of one cell.

    Returns:
        seed, layer, depth, slope (e-folds over the whole run, negative where it shrinks; NaN without two rounds
        above 0).
    """
    last, lines = float(measured["round"].max()), []
    for (seed, layer), part in measured.groupby(["seed", "layer"], sort=False):
        above = part[part["value"] > 0]
        value = slope(above["round"] / last, np.log(above["value"]))
        lines.append({"seed": seed, "layer": layer, "depth": float(part["depth"].iloc[0]), "slope": value})
    return pd.DataFrame(lines, columns=["seed", "layer", "depth", "slope"])


def by_depth(rows: pd.DataFrame) -> Lines:
    """IM8: rank correlation of depth and slope over the weight tensors; the slopes of the lowest and highest third.

    A positive correlation says that lower layers' divergence shrinks faster.
    """
    measured = layers(rows)
    for cell in cells(measured) if len(measured) else []:
        slopes = layer_slopes(at_cell(measured, cell))
        weights = slopes[slopes["layer"].map(is_weight)]
        slopes = weights if weights["layer"].nunique() > 1 else slopes
        correlations = [rank_correlation(one["depth"], one["slope"]) for _, one in slopes.groupby("seed")]
        tensors: dict[str, Any] = {"tensors": slopes["layer"].nunique()}
        yield line("IM8", over_seeds(correlations), "", rank_correlation="depth_and_slope", **words(cell), **tensors)
        ends = {end: by_seed(_third(slopes, end), "slope") for end in ("lowest", "highest")}
        for end, values in ends.items():
            yield line("IM8", over_seeds(values), "e-folds over the run", slope=end, **words(cell))
        less = over_seeds(paired(ends["lowest"], ends["highest"]))
        yield line("IM8", less, "e-folds over the run", slope="lowest", minus="highest", **words(cell))


def _third(slopes: pd.DataFrame, end: str) -> pd.DataFrame:
    """The tensors of the lowest or highest third of the depths."""
    depths = sorted(slopes["depth"].unique())
    some = max(1, len(depths) // 3)
    return slopes[slopes["depth"].isin(depths[:some] if end == "lowest" else depths[-some:])]
