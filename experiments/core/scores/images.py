"""Likeness of images: structural similarity and signal-to-noise ratio by scikit-image, grey values, shared picks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


BINS = 256  # of grey values


def coefficient(image: ArrayLike, other: ArrayLike) -> float:
    """The Bhattacharyya coefficient sum_i sqrt(p_i q_i) of two images' grey values (Bhattacharyya 1943); 1 if equal.

    p and q are histograms of 256 bins; the grey value of a colour image is the mean of its channels. Where the pixels
    stand plays no part, and the images may differ in size.

    Args:
        image, other: [C, H, W] in 0..1.

    Raises:
        ValueError: images of another shape or range.
    """
    p, q = _histogram(image), _histogram(other)
    return float(np.sqrt(p * q).sum())


def bhattacharyya(image: ArrayLike, other: ArrayLike) -> float:
    """The Bhattacharyya distance -ln of `coefficient` of images [C, H, W] in 0..1; infinite without a shared bin."""
    shared = coefficient(image, other)
    return max(0.0, -math.log(shared)) if shared else math.inf


def overlap(first: Iterable[int], second: Iterable[int]) -> int:
    """How many of the picks `first`, such as the 25 samples of highest score, are among `second`, too."""
    return len(set(first) & set(second))


def grid(images: ArrayLike, columns: int = 5) -> NDArray[Any]:
    """One image of many, row by row, without borders: [m, C, H, W] -> [C, rows * H, columns * W].

    Places that are left over in the last row are zero.
    """
    parts = np.asarray(images)
    if parts.ndim != 4 or not len(parts):
        raise ValueError(f"a grid is made of images [m, C, H, W], not {parts.shape}")
    m, c, h, w = parts.shape
    rows = -(-m // columns)
    whole = np.zeros((rows * columns, c, h, w), dtype=parts.dtype)
    whole[:m] = parts
    return whole.reshape(rows, columns, c, h, w).transpose(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def grey(image: ArrayLike) -> NDArray[np.float64]:
    """The mean of an image's channels: [C, H, W] -> [1, H, W]."""
    return np.asarray(image, dtype=np.float64).mean(0, keepdims=True)


def best(measure: Callable[[Any, Any], float], image: ArrayLike, others: Iterable[ArrayLike]) -> tuple[float, float]:
    """Mean and greatest likeness by `measure` (`ssim`, `psnr`) of an image to each of `others`, at least one."""
    values = [measure(image, other) for other in others]
    return float(np.mean(values)), max(values)


def _histogram(image: ArrayLike) -> NDArray[np.float64]:
    """Shares of an image's grey values in 256 bins of [0, 1]."""
    values = grey(image)
    if values.ndim != 3 or values.min() < 0 or values.max() > 1:
        raise ValueError("grey values are counted of images [C, H, W] in 0..1")
    return np.histogram(values, BINS, (0.0, 1.0))[0] / values.size


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
