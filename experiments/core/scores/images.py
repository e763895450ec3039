"""Likeness of images: structural similarity and peak signal-to-noise ratio, by scikit-image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.core.errors import MissingError

_WINDOW = 7  # pixels, scikit-image's default


def ssim(image: ArrayLike, other: ArrayLike) -> float:
    """The mean structural similarity (Wang et al. 2004) of two images [C, H, W] in 0..1; 1 for equal ones.

    Over 7 x 7 windows, smaller ones where an image is.

    Raises:
        MissingError: scikit-image is not installed. ValueError: shapes differ.
    """
    a, b = _pair(image, other)
    window = min(_WINDOW, *a.shape[1:])
    window -= 1 - window % 2
    return float(_metrics().structural_similarity(a, b, win_size=window, data_range=1.0, channel_axis=0))


def psnr(image: ArrayLike, other: ArrayLike) -> float:
    """The peak signal-to-noise ratio in dB of two images [C, H, W] in 0..1: -10 log10 of their mean squared difference.

    100 dB at most, which equal images have.

    Raises:
        MissingError: scikit-image is not installed. ValueError: shapes differ.
    """
    a, b = _pair(image, other)
    if np.square(a - b).mean() < _MOST_EQUAL:
        return 100.0
    return float(_metrics().peak_signal_noise_ratio(a, b, data_range=1.0))


_MOST_EQUAL = 1e-10


def best(measure: Callable[[Any, Any], float], image: ArrayLike, others: Iterable[ArrayLike]) -> tuple[float, float]:
    """Mean and greatest likeness by `measure` (`ssim`, `psnr`) of an image to each of `others`, at least one."""
    values = [measure(image, other) for other in others]
    return float(np.mean(values)), max(values)


def _pair(image: ArrayLike, other: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(image, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"images [C, H, W] of one shape are compared, not {a.shape} and {b.shape}")
    return a, b


def _metrics() -> Any:
    try:
        from skimage import metrics
    except ImportError as error:
        todo = "pip install scikit-image"
        raise MissingError("likeness of images needs the package scikit-image", "inversion", todo) from error
    return metrics
