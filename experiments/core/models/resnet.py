"""Residual nets for small images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck

STAGES = {8: (1, 1, 1), 18: (2, 2, 2, 2), 20: (3, 3, 3), 50: (3, 4, 6, 3)}
"""Residual blocks of each stage, by depth."""
WIDTHS = {8: 16, 18: 64, 20: 16, 50: 64}
"""Channels of the first stage as published, by depth."""
BOTTLENECKS = {50}
"""Depths whose blocks are bottlenecks; the others have basic blocks of two convolutions."""
GROUPS = 2
"""Groups of each GroupNorm."""


class ResNet(Block):
    """Residual nets of He et al. (2016) for small images: torchvision's blocks behind a 3x3 convolution without a pool.

    ResNet-18 and ResNet-50 are ImageNet's but for this stem: 11,173,962 and 23,520,842 parameters for 3x32x32 and 10
    classes. ResNet-8 and ResNet-20 are those of section 4.2 (three stages of 16, 32, 64 channels with n blocks each,
    6n + 2 layers): 77,754 and 272,186 parameters for 1x28x28; their shortcuts are 1x1 convolutions where shapes differ
    (option B), as in the others. For images of ImageNet's size use `kind: torchvision`. BatchNorm needs `Net.stilled`
    wherever a Hessian is taken; `norm: group` has GroupNorm of two groups instead (Wu and He 2018), which
    treats each sample alone.
    """

    kind: Literal["resnet"] = "resnet"
    depth: Literal[8, 18, 20, 50] = Field(18, description="layers; 50 has bottlenecks, the others basic blocks")
    width: int | None = Field(
        None,
        ge=1,
        description="channels of the first stage; each further stage doubles them; default: 16 for depth 8 and 20, "
        "64 for 18 and 50",
    )
    norm: Literal["batch", "group"] = Field("batch", description="normalisation; group: GroupNorm of two groups")

    @model_validator(mode="before")
    @classmethod
    def _published(cls, given: Any) -> Any:
        """The spec as resolved shows the width, so that a cell's parameters do too."""
        depth = given.get("depth", 18) if isinstance(given, dict) else None
        known = isinstance(depth, int) and given.get("width") is None
        return {**given, "width": WIDTHS[depth]} if known and depth in WIDTHS else given

    @model_validator(mode="after")
    def _divisible(self) -> ResNet:
        if self.norm == "group" and self.channels % GROUPS:
            raise ValueError(
                f"width: {self.width} channels do not make the {GROUPS} groups of norm: group; use an even number"
            )
        return self

    @property
    def channels(self) -> int:
        """Channels of the first stage."""
        return WIDTHS[self.depth] if self.width is None else self.width

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 8, to outputs [n, classes].

        Blocks: stem, layer1 to layer3 or layer4, each behind its last ReLU, and pool.

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images

        require_images(shape, 8, f"ResNet-{self.depth}")
        wide, norm = self.channels, _norm(self.norm)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], wide, 3, padding=1, bias=False), norm(wide), nn.ReLU()]
        blocks = {"stem": "2"}
        for stage, count in enumerate(STAGES[self.depth]):
            planes = self.channels * 2**stage
            for block in range(count):
                layers.append(_block(self.depth, wide, planes, 2 if stage and not block else 1, norm))
                wide = planes * _kind(self.depth).expansion
            blocks[f"layer{stage + 1}"] = str(len(layers) - 1)
        blocks["pool"] = str(len(layers))
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))
        return with_blocks(nn.Sequential(*layers, *head), blocks)


def _norm(word: str) -> Callable[[int], nn.Module]:
    """The normalisation of so many channels."""
    from torch import nn

    makers: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "group": partial(nn.GroupNorm, GROUPS),
    }
    return makers[word]


def _kind(depth: int) -> type[BasicBlock] | type[Bottleneck]:
    """The class of the residual blocks; `expansion` is how many times its inner channels it returns."""
    from torchvision.models import resnet

    return resnet.Bottleneck if depth in BOTTLENECKS else resnet.BasicBlock


def _block(depth: int, wide: int, planes: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    """One residual block from `wide` channels; the shortcut is a 1x1 convolution where shapes differ."""
    from torch import nn

    kind = _kind(depth)
    out = planes * kind.expansion
    shortcut = None
    if stride > 1 or wide != out:
        shortcut = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), norm(out))
    block = kind(wide, planes, stride, shortcut, norm_layer=norm)
    block.relu.inplace = False  # an output stored by a hook must not be overwritten
    return block
