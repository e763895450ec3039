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
        counts = np.array([2 * self.crop + 1, 2 * self.crop + 1, 2, *x.shape[2:]])
        drawn = np.minimum((rng.random((len(x), DRAWS)) * counts).astype(np.int64), counts - 1)
        # The numbers drawn are all that goes to the device, and nothing waits for it.
        top, left, whole, row, column = torch.from_numpy(drawn.T.copy()).to(x.device, non_blocking=True)
        if self.crop or self.flip:
            x = self._windows(x, top, left, whole == 0)
        return self._holes(x, row, column) if self.cutout else x

    def _windows(self, x: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        """The window at (top, left) [n] of each padded image, `mirrored` [n] or not."""
        height, width = x.shape[2:]
        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device).expand(len(x), -1)
        if self.flip:
            columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
        padded = self._padded(x) if self.crop else x
        # One index over a flattened plane: gather reads each channel alike.
        places = (top[:, None] + rows)[:, :, None] * padded.shape[3] + (left[:, None] + columns)[:, None, :]
        flat = places.reshape(len(x), 1, -1).expand(-1, x.shape[1], -1)
        return padded.flatten(2).gather(2, flat).reshape(x.shape)

    def _padded(self, x: Tensor) -> Tensor:
        """The images with `crop` black pixels on each side."""
        n, channels, height, width = x.shape
        padded = x.new_empty(n, channels, height + 2 * self.crop, width + 2 * self.crop)
        for channel, value in enumerate(self.black):
            padded[:, channel] = value
        padded[:, :, self.crop : self.crop + height, self.crop : self.crop + width] = x
        return padded

    def _holes(self, x: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Zeros in a square around (row, column) [n] of each image."""
        half = self.cutout // 2
        down, right = (_around(at, half, size) for at, size in ((row, x.shape[2]), (column, x.shape[3])))
        return x.masked_fill((down[:, :, None] & right[:, None, :]).unsqueeze(1), 0.0)


def _around(at: Tensor, half: int, size: int) -> Tensor:
    """[n, size] whether a place lies in at - half .. at + half - 1, for `at` [n]."""
    places = torch.arange(size, device=at.device)
    return (places >= at[:, None] - half) & (places < at[:, None] + half)
