"""Test points, and the training samples whose removal is tried."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.spec.removal import CandidateSpec, GroupSpec

_GROUPS_FROM = 0.1  # groups are drawn from this share of the samples, those of largest |influence|
_Floats = NDArray[np.float64]


def test_points(names: tuple[str, ...], losses: _Floats) -> dict[str, int]:
    """Test sample of each name: max, max2 (by loss), p50, p50b (nearest to a percentile of the losses), i1479.

    Raises:
        SpecError: an index or a place outside the test set.
    """
    falling = np.argsort(-losses, kind="stable")
    found: dict[str, int] = {}
    for name in names:
        if name.startswith("i"):
            place, order = int(name[1:]), np.arange(len(losses))
        elif name.startswith("max"):
            place, order = int(name[3:] or 1) - 1, falling
        else:
            at, letter = _percentile(name)
            place, order = letter, np.argsort(np.abs(losses - np.percentile(losses, at)), kind="stable")
        if place >= len(losses):
            raise SpecError(
                f"test point {name}: the test set has {len(losses)} samples, numbered 0 to {len(losses) - 1}",
                "test_points",
                "name another",
            )
        found[name] = int(order[place])
    return found


def _percentile(name: str) -> tuple[float, int]:
    """p50b -> (50.0, 1)."""
    match = re.fullmatch(r"p([\d.]+)([b-z]?)", name)
    assert match is not None
    return float(match[1]), ord(match[2]) - ord("a") if match[2] else 0


def candidates(spec: CandidateSpec, influence: _Floats, seed: int) -> list[int]:
    """Rows of the training samples that `spec` picks by their influence [n] on one test point, in picking order."""
    n = len(influence)
    count = n if spec.pick == "all" else spec.count or max(3, math.floor(spec.share * n + 0.5))  # type: ignore[operator]
    size = influence if spec.signed else np.abs(influence)
    if spec.pick == "random":
        return [int(i) for i in stream(seed, "candidates", name=spec.label).choice(n, count, replace=False)]
    if spec.pick == "percentile":
        # The score itself, as the paper's "30th percentile of the influence score distribution".
        order = np.argsort(np.abs(influence - np.percentile(influence, spec.at)), kind="stable")
    else:
        order = np.argsort(size if spec.pick == "lowest" else -size, kind="stable")
    return [int(i) for i in order[:count]]


def groups(spec: GroupSpec, influence: _Floats, seed: int) -> dict[tuple[int, int], list[int]]:
    """(size, number) -> rows of a random group from the tenth of the samples with the largest |influence|."""
    falling = np.argsort(-np.abs(influence), kind="stable")
    found = {}
    for size in spec.sizes:
        if size >= len(influence):
            raise SpecError(f"groups of {size} among {len(influence)} samples", "groups.sizes", "give smaller groups")
        pool = falling[: max(2 * size, math.ceil(_GROUPS_FROM * len(influence)))]
        for number in range(spec.count):
            drawn = stream(seed, "group", size=size, number=number).choice(pool, min(size, len(pool)), replace=False)
            found[size, number] = sorted(int(i) for i in drawn)
    return found
