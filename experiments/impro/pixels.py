"""Images as pixels in 0..1, whatever a model is given, and the file of reconstructed ones."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.federation import Federation
from experiments.core.sweep import files
from experiments.core.sweep.cell import Context
from experiments.impro.stored_images import FILE

Images = dict[str, NDArray[np.generic]]
"""original, features [n, C, H, W] and labels [n]; mean, class_mean [G, C, H, W] and classes [G]; noised_mean
[levels, G, C, H, W] and noise [levels]. Pixels are bytes."""


@dataclass(frozen=True)
class Pixels:
    """Between a model's inputs [n, C, H, W] and pixels in 0..1: input = (pixel - shift) / scale, channel by channel."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, federation: Federation) -> Pixels:
        """By the normalisation that the data remember, else so that 0 and 1 and all training inputs are in range."""
        if federation.scale is not None:
            return cls(
                *(
                    torch.tensor(part).reshape(-1, 1, 1).to(federation.x.device, federation.x.dtype)
                    for part in federation.scale
                )
            )
        low, high = federation.x.min().clamp(max=0), federation.x.max().clamp(min=1)
        return cls(low / (low - high), 1 / (high - low))

    def seen(self, pixels: Tensor) -> Tensor:
        """What the model is given for pixels."""
        return (pixels - self.shift) / self.scale

    def of_inputs(self, x: Tensor) -> Tensor:
        """Pixels of what the model is given, cut to 0..1."""
        return (x * self.scale + self.shift).clamp(0, 1)


def as_bytes(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels of 0..1 as bytes."""
    return (pixels.detach().cpu().double() * 255).round().to(torch.uint8).numpy()


def keep_images(images: Images, context: Context) -> None:
    """Write inversion.npz into the cell's folder."""
    out = io.BytesIO()
    np.savez_compressed(out, **images)  # type: ignore[arg-type]
    files.atomic_write(context.folder / FILE, out.getvalue())
