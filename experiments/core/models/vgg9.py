"""The VGG of nine layers that federated learning papers train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn

FACTORS = ((1, 2), (4, 4), (8, 8))
"""Channels of the 3x3 convolutions of each block, as multiples of the first."""


class Vgg9(Block):
    """VGG-9 of FedMA (Wang et al. 2020) and NIID-Bench (Li et al. 2022): six convolutions and three dense layers.

    Both call it ModerateCNN. 3x3 convolutions of 32, 64, 128, 128, 256, 256 channels, a 2x2 max-pool behind each pair,
    dense layers of 512 and 512; after the second pool a share of the channels is dropped (0.05), before the first and
    the last dense layer a share of the values (0.1). 3,491,530 parameters for 3x32x32 and 10 classes.
    """

    kind: Literal["vgg9"] = "vgg9"
    width: int = Field(
        32, ge=1, description="channels of the first convolution; the dense layers have 16 times as many"
    )
    dropout: bool = Field(True, description="drop channels and values in training, as published")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 8, to outputs [n, classes].

        Blocks: conv1 to conv6, fc1, fc2.

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images

        require_images(shape, 8, "VGG-9")
        wide, dense = shape[0], 16 * self.width
        few, some = ([nn.Dropout2d(0.05)], [nn.Dropout(0.1)]) if self.dropout else ([], [])
        layers: list[nn.Module] = []
        for after, pair in zip(([], few, []), FACTORS, strict=True):
            for factor in pair:
                layers += [nn.Conv2d(wide, factor * self.width, 3, padding=1), nn.ReLU()]
                wide = factor * self.width
            layers += [nn.MaxPool2d(2), *after]
        flat = wide * (shape[1] // 8) * (shape[2] // 8)
        layers += [nn.Flatten(), *some, nn.Linear(flat, dense), nn.ReLU(), nn.Linear(dense, dense), nn.ReLU(), *some]
        return with_blocks(nn.Sequential(*layers, nn.Linear(dense, classes)))
