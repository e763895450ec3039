"""VGG nets for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn

BLOCKS = {"vgg13": (2, 2, 2, 2, 2), "vgg14": (2, 2, 2, 2, 3)}
"""3x3 convolutions of each block."""

FACTORS = (1, 2, 4, 8, 8)


class Vgg(Block):
    """VGG (Simonyan and Zisserman 2015) with a head for 32x32 images: ten convolutions and three dense layers of 512.

    Basu et al. (2021) report a VGG14, of which nothing is published: here it is VGG13 with one more convolution in the
    last block. Without dropout, so that the loss is a fixed function; batch normalisation as an option. 9,935,434
    parameters for 3x32x32 and 10 classes.
    """

    kind: Literal["vgg"] = "vgg"
    name: Literal["vgg13", "vgg14"] = Field("vgg13", description="vgg14: one more convolution in the last block")
    width: int = Field(64, ge=1, description="channels of the first block; the last and the dense layers have 8 times")
    batch_norm: bool = Field(False, description="batch normalisation after each convolution")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 32, to outputs [n, classes].

        Blocks: conv1 to conv10 (vgg14: conv11), fc1, fc2.

        Raises:
            SpecError: the inputs are no images, or too small for five pools.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images

        require_images(shape, 32, self.name, "five pools need 32x32 pixels: data.size: 32 where the data have it")
        layers: list[nn.Module] = []
        wide = shape[0]
        for count, factor in zip(BLOCKS[self.name], FACTORS, strict=True):
            for _ in range(count):
                out = factor * self.width
                layers.append(nn.Conv2d(wide, out, 3, padding=1))
                layers += [nn.BatchNorm2d(out), nn.ReLU()] if self.batch_norm else [nn.ReLU()]
                wide = out
            layers.append(nn.MaxPool2d(2))
        flat = wide * (shape[1] // 32) * (shape[2] // 32)
        layers += [nn.Flatten(), nn.Linear(flat, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU()]
        return with_blocks(nn.Sequential(*layers, nn.Linear(wide, classes)))
