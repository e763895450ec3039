"""Test points: by their loss, near a percentile of the losses, or by number."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from experiments.core.errors import SpecError

_Floats = NDArray[np.float64]


def test_points(names: tuple[str, ...], losses: _Floats) -> dict[str, int]:
    """Test sample of each name: max, max2 (by loss), p50, p50b (nearest to a percentile of the losses), i1479.

    Raises:
        SpecError: an index or a place outside the test set.
    """
    falling = np.argsort(-losses, kind="stable")
    samples: dict[str, int] = {}
    for name in names:
        if name.startswith("i"):
            rank, order = int(name[1:]), np.arange(len(losses))
        elif name.startswith("max"):
            rank, order = int(name[3:] or 1) - 1, falling
        else:
            at, letter = _percentile(name)
            rank, order = letter, np.argsort(np.abs(losses - np.percentile(losses, at)), kind="stable")
        if rank >= len(losses):
            raise SpecError(
                f"test point {name}: the test set has {len(losses)} samples, numbered 0 to {len(losses) - 1}",
                "test_points",
                "name another",
            )
        samples[name] = int(order[rank])
    return samples


def _percentile(name: str) -> tuple[float, int]:
    """p50b -> (50.0, 1)."""
    match = re.fullmatch(r"p([\d.]+)([b-z]?)", name)
    assert match is not None
    return float(match[1]), ord(match[2]) - ord("a") if match[2] else 0
