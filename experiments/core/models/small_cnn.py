"""The small CNN of Koh and Liang (2017), which Basu et al. (2021) take for small MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn

CHANNELS = 8
STRIDES = (1, 2, 1, 2, 1)


class SmallCnn(Block):
    """Five 3x3 convolutions of 8 channels and a 1x1 one, tanh, global mean, dense: 2,616 parameters (1x28x28, 10).

    After All-CNN-C (Springenberg et al. 2015): no padding, strides 1, 2, 1, 2, 1. The published code names its
    activation softplus but applies tanh, as here. Weights as published: `init: koh_liang`.
    """

    kind: Literal["small_cnn"] = "small_cnn"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 21, to outputs [n, classes].

        Blocks: conv1 to conv6.

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images

        require_images(shape, 21, "the small CNN")
        layers: list[nn.Module] = []
        wide = shape[0]
        for stride in STRIDES:
            layers += [nn.Conv2d(wide, CHANNELS, 3, stride), nn.Tanh()]
            wide = CHANNELS
        layers += [nn.Conv2d(wide, classes, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return with_blocks(nn.Sequential(*layers, nn.Linear(classes, classes)))
