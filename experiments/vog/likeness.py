"""How alike two lists of scores of the same samples are, and the grids of images that they pick (sections 3, 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.core.engine.seeds import stream
from experiments.core.scores.images import bhattacharyya, grey, grid, overlap, ssim
from experiments.vog.stored_scores import Scored

TOP = 1000
"""Samples of the highest scores whose correlation section 4.1 gives."""

GRID = 25
"""Images of a grid, 5 x 5."""

METRICS = {
    "pearson_top": f"Pearson, top {TOP}", "pearson": "Pearson", "spearman": "Spearman",
    "overlap": f"same of {GRID}", "ssim": "SSIM", "bd": "BD",
}  # fmt: skip
_DRAWS = 20  # pairs of random grids behind a floor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """One list of scores: of a method in a cell."""

    scored: Scored
    method: str

    def values(self, label: int | None = None) -> Floats:
        """The scaled scores of a class [k], or of all samples."""
        return self.scored.scaled[self.method][self.scored.of_class(label)]

    def leading(self, label: int | None, most: int, lowest: bool = False) -> NDArray[np.int64]:
        """See `Scored.leading`."""
        return self.scored.leading(self.method, label, most, lowest)

    def grid(self, label: int | None, lowest: bool = False) -> Floats | None:
        """The grid [1, H, W] in 0..1 of the highest or lowest scores; None where images are not stored."""
        return grid_of(self.scored.pictures(self.leading(label, GRID, lowest)))


def comparable(a: Scored, b: Scored) -> bool:
    """Whether both cells have scored the same samples, with the same labels."""
    return a.n == b.n and bool((a.labels == b.labels).all())


def grid_of(pictures: Floats | None) -> Floats | None:
    """Images [k, C, H, W] in reading order as one grey image [1, H, W]; None without any."""
    return None if pictures is None or not len(pictures) else grey(grid(pictures))


def correlations(a: Side, b: Side, label: int | None) -> dict[str, float]:
    """`pearson` and `spearman` of a class (None: all samples), `pearson_top` of all; NaN where undefined."""
    x, y = both(a, b, label)
    told = {"pearson": pearson(x, y), "spearman": pearson(_ranks(x), _ranks(y))}
    return told | ({"pearson_top": pearson_top(a, b, TOP)} if label is None else {})


def pearson_top(a: Side, b: Side, most: int, lowest: bool = False) -> float:
    """Pearson's r over the `most` highest scores: the mean of r over those of `a` and r over those of `b`.

    Over the union of both, unrelated scores would correlate negatively, since a sample is in it for one or the other;
    here they have 0. NaN where `most` is not less than all.
    """
    if most >= a.scored.n:
        return math.nan
    x, y = a.values(), b.values()
    known = np.isfinite(x) & np.isfinite(y)
    picked = [rows[known[rows]] for rows in (side.leading(None, most, lowest) for side in (a, b))]
    return float(np.mean([pearson(x[rows], y[rows]) for rows in picked]))


def both(a: Side, b: Side, label: int | None) -> tuple[Floats, Floats]:
    """The scaled scores of the samples of a class (None: all) that have one on both sides."""
    x, y = a.values(label), b.values(label)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def pearson(x: Floats, y: Floats) -> float:
    """Pearson's r of two lists of finite numbers; NaN of fewer than three, and of constant ones."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Floats) -> Floats:
    from scipy import stats

    return np.asarray(stats.rankdata(values), dtype=np.float64)


def grids(a: Side, b: Side, label: int | None, lowest: bool = False, images: bool = True) -> dict[str, float]:
    """`overlap` (samples in both grids), `ssim` and `bd` of the grids; these are NaN without `images`."""
    rows = [side.leading(label, GRID, lowest).tolist() for side in (a, b)]
    told = {"overlap": float(overlap(*rows)), "ssim": math.nan, "bd": math.nan}
    one, other = (side.grid(label, lowest) if images else None for side in (a, b))
    if one is None or other is None or one.shape != other.shape:
        return told
    return told | {"ssim": ssim(one, other), "bd": bhattacharyya(one, other)}


def chance(n: int) -> float:
    """The overlap of two grids of random samples out of n, on average; NaN of none."""
    most = min(GRID, n)
    return most * most / n if n else math.nan


def floor(scored: Scored, label: int | None) -> dict[str, float]:
    """`ssim` and `bd` of two grids of random images of a class (None: of all), means over draws.

    The images are the stored ones, of some method's highest or lowest scores; the two grids share none where enough
    are stored.
    """
    rows = scored.image_rows[np.isin(scored.image_rows, np.flatnonzero(scored.of_class(label)))]
    most = min(GRID, int(scored.of_class(label).sum()), len(rows) // 2)
    if most < 1:
        return {"ssim": math.nan, "bd": math.nan}
    draw = stream(0, "floor", label=-1 if label is None else label)
    told = []
    for _ in range(_DRAWS):
        drawn = draw.permutation(rows)[: 2 * most]
        pair = [grid_of(scored.pictures(part)) for part in (drawn[:most], drawn[most:])]
        assert pair[0] is not None and pair[1] is not None
        told.append((ssim(pair[0], pair[1]), bhattacharyya(pair[0], pair[1])))
    return {"ssim": float(np.mean([s for s, _ in told])), "bd": float(np.mean([b for _, b in told]))}
