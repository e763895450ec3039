"""Scores of samples made comparable between classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]

How = Literal["minmax", "zscore"]


def scaled(scores: ArrayLike, labels: ArrayLike, how: How) -> tuple[_Floats, list[str]]:
    """Scores [n] class by class, and a sentence for every class in which they have no scale.

    "minmax": to [0, 1] (section 3 of the paper on incentives). "zscore": minus the mean, over the standard deviation
    with 1/n (Agarwal et al. 2022). A class of one sample, or of equal scores, has neither: its samples get NaN, never a
    number that looks like a rank. So does a class that holds a score which is not finite.

    Args:
        scores: [n]. labels: [n] classes.

    Raises:
        ValueError: other lengths, an unknown way.
    """
    raw, of = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if raw.shape != of.shape or raw.ndim != 1:
        raise ValueError(f"scores of shape {raw.shape} and labels of shape {of.shape}, not both [n]")
    if how not in _WAYS:
        raise ValueError(f"unknown scaling {how!r}; known: {', '.join(_WAYS)}")
    out, faults = np.full(len(raw), np.nan), list[str]()
    for label in np.unique(of):
        rows = of == label
        if fault := _fault(raw[rows]):
            faults.append(f"class {label} {fault}: {how} is undefined there")
        else:
            out[rows] = _WAYS[how](raw[rows])
    return out, faults


def _fault(values: _Floats) -> str:
    """What is wrong with the scores of a class; "" if nothing."""
    if len(values) == 1:
        return "has one sample"
    if not np.isfinite(values).all():
        return "holds scores that are not finite"
    return f"has {len(values)} equal scores" if np.ptp(values) == 0 else ""


def _minmax(values: _Floats) -> _Floats:
    return (values - values.min()) / np.ptp(values)


def _zscore(values: _Floats) -> _Floats:
    return (values - values.mean()) / values.std()


_WAYS: dict[str, Callable[[_Floats], _Floats]] = {"minmax": _minmax, "zscore": _zscore}
