"""Estimate against truth as rows of results, alike in every paper."""

from __future__ import annotations

from collections.abc import Iterator

from numpy.typing import ArrayLike

from experiments.core.scores.correlation import pearson, spearman

SCORES = {"pearson": pearson, "spearman": spearman}
"""The correlations of an estimate with the truth, in the order of rows."""


def agreement(
    estimate: ArrayLike, truth: ArrayLike, name: str = "{}", interval: bool = False
) -> Iterator[tuple[str, float, int]]:
    """(metric, value, n) of Pearson's and Spearman's correlation of n pairs; nothing for fewer than three pairs.

    A value is NaN where it is undefined: one side is constant, or not finite throughout.

    Args:
        name: what a metric is called, "{}" standing for the score: "{}_fil" gives pearson_fil and spearman_fil.
        interval: give the ends of the 95 % interval, too, as `<metric>_low` and `<metric>_high`.
    """
    if len(estimate) < 3:  # type: ignore[arg-type]
        return
    for score, function in SCORES.items():
        correlation, metric = function(estimate, truth), name.format(score)
        yield metric, correlation.value, correlation.n
        if interval:
            yield f"{metric}_low", correlation.low, correlation.n
            yield f"{metric}_high", correlation.high, correlation.n
