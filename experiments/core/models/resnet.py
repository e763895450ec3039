"""Residual nets for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn

STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Residual blocks of each stage."""


class ResNet(Block):
    """ResNet-18 or ResNet-50 (He et al. 2016), torchvision's blocks behind a 3x3 convolution without a pool.

    11,173,962 and 23,520,842 parameters for 3x32x32 and 10 classes. For images of ImageNet's size use
    `kind: torchvision`. Its BatchNorm needs `Net.stilled` wherever a Hessian is taken.
    """

    kind: Literal["resnet"] = "resnet"
    depth: Literal[18, 50] = Field(18, description="layers; 18 has basic blocks, 50 bottlenecks")
    width: int = Field(64, ge=1, description="channels of the first stage; each further stage doubles them")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 8, to outputs [n, classes].

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._images import require_images

        require_images(shape, 8, f"ResNet-{self.depth}")
        wide = self.width
        layers: list[nn.Module] = [
            *(nn.Conv2d(shape[0], wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        ]
        for stage, count in enumerate(STAGES[self.depth]):
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(_block(self.depth, wide, self.width * 2**stage, stride))
                wide = self.width * 2**stage * (4 if self.depth == 50 else 1)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


def _block(depth: int, wide: int, planes: int, stride: int) -> nn.Module:
    """One residual block from `wide` channels; the shortcut is a 1x1 convolution where shapes differ."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck

    kind = BasicBlock if depth == 18 else Bottleneck
    out = planes * kind.expansion
    shortcut = None
    if stride > 1 or wide != out:
        shortcut = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    block = kind(wide, planes, stride, shortcut)
    block.relu.inplace = False  # an output stored by a hook must not be overwritten
    return block
