"""Shifted, mirrored and partly erased images: one batch at a time on its device, drawn from a stream with a name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.core.engine.federation import Federation
from experiments.core.errors import SpecError

DRAWS = 5
"""Numbers drawn for each image, whatever is done with them: row and column of the crop, mirror, row and column of the
hole. So a change of one setting does not change what the others draw."""


@dataclass(frozen=True)
class Augment:
    """What is done to the images of a training batch, in this order.

    Attributes:
        crop: the image gets so many black pixels on each side, and a window of the old size is cut out at random; 0:
            none. flip: mirrored left to right with probability 1/2.
        cutout: side of a square hole of zeros at a random place (DeVries and Taylor 2017), which may reach over the
            border; an even number; 0: none. Zeros are put after normalisation, as there: the mean colour.
        black: the value of a black pixel in each channel, after normalisation.
    """

    crop: int
    flip: bool
    cutout: int
    black: tuple[float, ...]

    @classmethod
    def of(cls, federation: Federation, crop: int = 0, flip: bool = False, cutout: int = 0) -> Augment:
        """The augmentation for a federation's images.

        Raises:
            SpecError: its inputs are no images, or smaller than the hole.
        """
        shape = tuple(federation.x.shape[1:])
        if len(shape) != 3 or not federation.x.is_floating_point():
            raise SpecError(
                f"augment is for images, and {federation.name} has inputs of shape {shape}", "augment", "leave it out"
            )
        if cutout > min(shape[1:]):
            what = f"a hole of {cutout}x{cutout} pixels in images of {shape[1]}x{shape[2]}"
            raise SpecError(what, "augment.cutout", "make it smaller")
        mean, deviation = federation.scale or ((0.0,) * shape[0], (1.0,) * shape[0])
        black = torch.zeros(shape[0])  # in float32, as the images were normalised
        for c, (shift, scale) in enumerate(zip(mean, deviation, strict=True)):
            black[c].sub_(shift).div_(scale)
        return cls(crop, flip, cutout, tuple(black.tolist()))

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """A changed copy of images [n, C, H, W]; the first images of a longer batch would get the same draws."""
        draws = rng.random((len(x), DRAWS))
        height, width = x.shape[2:]
        if self.crop or self.flip:
            down, right = (_below(draws[:, i], 2 * self.crop + 1) for i in (0, 1))
            x = self._windows(x, down, right, (draws[:, 2] < 0.5) & self.flip)
        if self.cutout:
            x = self._holes(x, _below(draws[:, 3], height), _below(draws[:, 4], width))
        return x

    def _windows(self, x: Tensor, down: np.ndarray, right: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """Window (down, right) [n] of each padded image, `mirrored` [n] or not."""
        n, channels, height, width = x.shape
        columns = np.arange(width)
        columns = right[:, None] + np.where(mirrored[:, None], columns[::-1], columns)
        rows = down[:, None] + np.arange(height)
        padded = x
        if self.crop:
            black = torch.tensor(self.black, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
            padded = black.expand(n, channels, height + 2 * self.crop, width + 2 * self.crop).clone()
            padded[:, :, self.crop : self.crop + height, self.crop : self.crop + width] = x
        # One index over a flattened plane: gather reads each channel alike.
        places = torch.from_numpy(rows[:, :, None] * padded.shape[3] + columns[:, None, :]).to(x.device)
        flat = places.reshape(n, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, flat).reshape(x.shape)

    def _holes(self, x: Tensor, row: np.ndarray, column: np.ndarray) -> Tensor:
        """Zeros in a square around (row, column) [n] of each image."""
        half = self.cutout // 2
        inside = [
            (np.arange(size) >= at[:, None] - half) & (np.arange(size) < at[:, None] + half)
            for at, size in ((row, x.shape[2]), (column, x.shape[3]))
        ]
        holes = torch.from_numpy(inside[0][:, :, None] & inside[1][:, None, :]).to(x.device)
        return x.masked_fill(holes.unsqueeze(1), 0.0)


def _below(draws: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers in 0..count-1 from numbers in [0, 1)."""
    return np.minimum((draws * count).astype(np.int64), count - 1)
