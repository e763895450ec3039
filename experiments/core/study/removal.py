"""Who is left out: samples or clients in the order of a score, growing shares of them, random groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.spec.removal import CandidateSpec, GroupSpec

_GROUPS_FROM = 0.1  # groups are drawn from this share of the samples, those of largest |influence|
_Floats = NDArray[np.float64]


def ranked(*scores: ArrayLike, largest: bool = False) -> list[int]:
    """Numbers 0..n-1 in the order of the first of `scores`, each [n]; ties by the next ones, then by number.

    The smallest score comes first, or the largest; the last ties go to the smaller number in both cases.
    """
    keys = [np.negative(score) if largest else np.asarray(score) for score in scores]
    order: list[int] = np.lexsort(keys[::-1]).tolist()
    return order


def leading(order: Sequence[int], shares: Sequence[float]) -> Iterator[tuple[float, Sequence[int]]]:
    """(share, the first round(share * n) of `order`) for every share that takes anybody."""
    for share in shares:
        if count := round(share * len(order)):
            yield share, order[:count]


def candidates(spec: CandidateSpec, influence: _Floats, seed: int) -> list[int]:
    """Rows of the training samples that `spec` picks by their influence [n] on one test point, in picking order."""
    n = len(influence)
    count = n if spec.pick == "all" else spec.count or max(3, math.floor(spec.share * n + 0.5))  # type: ignore[operator]
    if spec.pick == "random":
        return [int(i) for i in stream(seed, "candidates", name=spec.label).choice(n, count, replace=False)]
    if spec.pick == "percentile":
        # The score itself, as the paper's "30th percentile of the influence score distribution".
        return ranked(np.abs(influence - np.percentile(influence, spec.at)))[:count]
    return ranked(influence if spec.signed else np.abs(influence), largest=spec.pick != "lowest")[:count]


def groups(spec: GroupSpec, influence: _Floats, seed: int) -> dict[tuple[int, int], list[int]]:
    """(size, number) -> rows of a random group from the tenth of the samples with the largest |influence|.

    Raises:
        SpecError: a group as large as the training set.
    """
    falling = ranked(np.abs(influence), largest=True)
    drawn = {}
    for size in spec.sizes:
        if size >= len(influence):
            raise SpecError(f"groups of {size} among {len(influence)} samples", "groups.sizes", "give smaller groups")
        pool = falling[: max(2 * size, math.ceil(_GROUPS_FROM * len(influence)))]
        for number in range(spec.count):
            members = stream(seed, "group", size=size, number=number).choice(pool, min(size, len(pool)), replace=False)
            drawn[size, number] = sorted(int(i) for i in members)
    return drawn
