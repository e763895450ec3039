"""How far two methods agree on the samples of one training (section 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from experiments.core.scores.rows import agreement
from experiments.core.study.removal import ranked
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row

EXTREMES = 1000
"""So many samples of each end count as extreme, but at most a tenth of all."""

_Floats = NDArray[np.float64]


def agreements(scores: Mapping[str, _Floats], point: str) -> list[Row]:
    """Rows `scores_pearson`, `scores_spearman` and the ends of their intervals, of every two methods.

    Subjects: `against=<the other> pick=all`, or `pick=extremes` for the samples that either ranks among its highest or
    lowest.

    Args:
        scores: method -> [n] scaled within classes; samples without a scaled score do not count.
    """
    rows = Rows(point, finite=True)
    for (a, x), (b, y) in combinations(scores.items(), 2):
        fine = np.isfinite(x) & np.isfinite(y)
        for pick, chosen in (("all", fine), ("extremes", _extreme(x, fine) | _extreme(y, fine))):
            for metric, value, n in agreement(x[chosen], y[chosen], "scores_{}", interval=True):
                rows.add(a, metric, value, n=n, against=b, pick=pick)
    return rows.rows


def _extreme(scores: _Floats, fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n] whether a sample's score is among the highest or the lowest of those that are `fine`."""
    places, chosen = np.flatnonzero(fine), np.zeros(len(scores), dtype=bool)
    order, count = ranked(scores[places]), min(EXTREMES, len(places) // 10)
    chosen[places[[*order[:count], *order[len(order) - count :]]]] = True
    return chosen
