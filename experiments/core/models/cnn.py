"""CNN 1 and CNN 2 of Fed-Influence (Xue et al. 2021, supplement F), after LEAF's FEMNIST model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn


class Cnn1(Block):
    """Conv 4, pool, conv 4, pool, dense 64, dense out; no activations. 17,146 parameters for 1x28x28 and 62 classes."""

    kind: Literal["cnn1"] = "cnn1"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W] to outputs [n, classes]; see `stack`."""
        return stack(shape, classes, (4, 4), 64, relu=False)


class Cnn2(Block):
    """Conv 4, ReLU, pool, conv 16, ReLU, pool, dense 128, ReLU, dense out. 110,198 parameters (1x28x28, 62 classes)."""

    kind: Literal["cnn2"] = "cnn2"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W] to outputs [n, classes]; see `stack`."""
        return stack(shape, classes, (4, 16), 128, relu=True)


class Cnn(Block):
    """The same architecture with configurable sizes: 5x5 convolutions with 2x2 pools, one hidden dense layer."""

    kind: Literal["cnn"] = "cnn"
    first: int = Field(32, ge=1, description="channels of the first convolution")
    second: int = Field(64, ge=1, description="channels of the second convolution")
    hidden: int = Field(128, ge=1, description="width of the dense layer")
    relu: bool = Field(True, description="ReLU after each layer but the last")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W] to outputs [n, classes]; see `stack`."""
        return stack(shape, classes, (self.first, self.second), self.hidden, self.relu)


def stack(shape: tuple[int, ...], classes: int, channels: tuple[int, ...], hidden: int, relu: bool) -> nn.Module:
    """5x5 "same" convolutions each followed by a 2x2 max-pool of stride 2, then two dense layers: a plain Sequential.

    `shape` is (C, H, W) of one image, H and W at least 2 ** len(channels). Blocks: conv1, conv2, fc1.

    Raises:
        SpecError: the inputs are no images, or too small for the pools.
    """
    from torch import nn

    from experiments.core.models._blocks import with_blocks
    from experiments.core.models._images import require_images

    require_images(shape, 2 ** len(channels), "a convolutional model")
    wide, (height, width) = shape[0], shape[1:]
    layers: list[nn.Module] = []
    for out in channels:
        layers += [nn.Conv2d(wide, out, 5, padding=2), *([nn.ReLU()] if relu else []), nn.MaxPool2d(2)]
        wide, height, width = out, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(wide * height * width, hidden), *([nn.ReLU()] if relu else [])]
    return with_blocks(nn.Sequential(*layers, nn.Linear(hidden, classes)))
