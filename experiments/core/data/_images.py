"""What image data sets share: normalising channels, resizing, and making RGB of grey images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from experiments.core.data._split import KeptData
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

Finite = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Finite | Annotated[tuple[Finite, ...], Field(strict=False, min_length=1)]
"""One number, or one for each channel."""


class ScaledImages(KeptData):
    """Images normalised by published channel statistics, or by those of the training images."""

    mean: Numbers | None = Field(
        None, description="subtracted from pixels of 0..1: one number, or one for each channel"
    )
    deviation: Numbers | None = Field(None, description="then divides them; goes together with mean")

    @model_validator(mode="after")
    def _pair(self) -> ScaledImages:
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("deviation: goes together with mean")
        if self.mean is not None and getattr(self, "normalise", False):
            raise ValueError("mean: normalise takes mean and deviation from the training images; give one of the two")
        if any(d <= 0 for d in _each(1.0 if self.deviation is None else self.deviation)):
            raise ValueError("deviation: each must be above 0")
        return self

    def finished(self, pool: Pool, where: str) -> Pool:
        """The pool with its channels normalised as the block specifies; works in place.

        Raises:
            SpecError: the number of values does not match the channels of the images.
        """
        from experiments.core.data._scale import by_channel, scaled

        if self.mean is None or self.deviation is None:
            return by_channel(pool) if getattr(self, "normalise", False) else pool
        channels = pool.x.shape[1]
        return scaled(pool, *(self._spread(key, channels, where) for key in ("mean", "deviation")))

    def _spread(self, key: str, channels: int, where: str) -> tuple[float, ...]:
        """The values of one key, one per channel."""
        numbers = _each(getattr(self, key))
        if len(numbers) not in (1, channels):
            raise SpecError(
                f"{len(numbers)} numbers in data.{key} for images of {channels} channels",
                where,
                "give one number, or one for each channel",
            )
        return numbers if len(numbers) == channels else numbers * channels


class ShapedImages(ScaledImages):
    """Images that can also be resized, and shown three times to a model of colours."""

    size: int | None = Field(None, ge=1, description="enlarge or shrink the images to size x size pixels (bilinear)")
    rgb: bool = Field(False, description="three equal channels from a grey one; images of three stay as they are")

    def shaped(self, x: np.ndarray, where: str) -> np.ndarray:
        """[n, C, H, W] -> [n, 3 where rgb, size, size].

        Raises:
            SpecError: rgb is set for images with neither one nor three channels; the result will not fit in memory.
        """
        import numpy as np

        from experiments.core.data._files import require_memory

        sides = x.shape[2:] if self.size is None else (self.size, self.size)
        target = (3 if self.rgb else x.shape[1], *sides)
        if target != x.shape[1:]:
            require_memory(len(x), target, where)
        x = resized(x, self.size)
        if not self.rgb or x.shape[1] == 3:
            return x
        if x.shape[1] != 1:
            raise SpecError(f"data.rgb for images of {x.shape[1]} channels", where, "leave data.rgb out")
        return np.repeat(x, 3, 1)


def unit_range(images: np.ndarray, where: str) -> np.ndarray:
    """Images of any shape as float32: bytes and 16-bit numbers scaled to 0..1, floats as they are.

    Other integers count as bytes where they are 0..255.

    Raises:
        SpecError: integers whose range is not known.
    """
    import numpy as np

    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 become infinite and are rejected later
            return images.astype(np.float32)
    if images.dtype == np.uint16 or not images.size:
        return images.astype(np.float32) / 65535
    low, high = int(images.min()), int(images.max())
    if low < 0 or high > 255:
        what = f"images of integers ({images.dtype}) from {low} to {high}, whose range is not known"
        raise SpecError(what, where, "give bytes (0..255), 16-bit unsigned integers, or floats scaled by yourself")
    return images.astype(np.float32) / 255


def resized(x: np.ndarray, size: int | None) -> np.ndarray:
    """[n, C, H, W] -> [n, C, size, size], bilinear, smoothed before it is made smaller."""
    if size is None or x.shape[2:] == (size, size):
        return x
    import torch
    from torch.nn.functional import interpolate

    large = interpolate(torch.from_numpy(x), (size, size), mode="bilinear", align_corners=False, antialias=True)
    return large.numpy()


def _each(numbers: float | tuple[float, ...]) -> tuple[float, ...]:
    """The numbers as a tuple, also when there is only one."""
    return numbers if isinstance(numbers, tuple) else (float(numbers),)
