"""Shifting and scaling the channels of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.core.data.pool import Pool

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's red, green and blue in 0..1, the numbers all published ImageNet models share."""


def by_channel(pool: Pool) -> Pool:
    """Normalise images [N, C, H, W] by each channel's mean and deviation over the training part; works in place.

    A constant channel is only shifted.
    """
    channels = [pool.x[:, c].double() for c in range(pool.x.shape[1])]
    mean = [float(channel.mean()) for channel in channels]
    deviation = [float(channel.std(correction=0)) for channel in channels]
    # The deviation of a constant channel is not exactly zero in floating point.
    return scaled(pool, mean, [d if d > 1e-6 else 1.0 for d in deviation])


def scaled(pool: Pool, mean: Sequence[float], deviation: Sequence[float]) -> Pool:
    """(x - mean) / deviation for images [N, C, H, W] of both parts, one number a channel; works in place."""
    for x in (pool.x, pool.test_x):
        for c, (shift, scale) in enumerate(zip(mean, deviation, strict=True)):
            x[:, c].sub_(shift).div_(scale)
    return replace(pool, scale=(tuple(mean), tuple(deviation)))
