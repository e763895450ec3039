"""Residual nets for small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck

STAGES = {8: (1, 1, 1), 18: (2, 2, 2, 2), 20: (3, 3, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Residual blocks of each stage, by depth."""
WIDTHS = {8: 16, 18: 64, 20: 16, 50: 64, 101: 64}
"""Channels of the first stage as published, by depth."""
BOTTLENECKS = {50, 101}
"""Depths whose blocks are bottlenecks; the others have basic blocks of two convolutions."""
BASE = 64
"""`width_per_group` of a plain net: a bottleneck's inner channels are those of its stage."""


class ResNet(Block):
    """Residual nets of He et al. (2016) for small images: torchvision's blocks behind a 3x3 convolution without a pool.

    ResNet-18, -50 and -101 are ImageNet's but for this stem: 11,173,962, 23,520,842 and 42,512,970 parameters for
    3x32x32 and 10 classes. ResNet-8 and ResNet-20 are those of section 4.2 (three stages of 16, 32, 64 channels with n
    blocks each, 6n + 2 layers): 77,754 and 272,186 parameters for 1x28x28; their shortcuts are 1x1 convolutions where
    shapes differ (option B), as in the others.

    `groups` and `width_per_group` are torchvision's and ask for bottlenecks: ResNeXt-101 32x8d (Xie et al. 2017) is
    `depth: 101, groups: 32, width_per_group: 8` (86,755,146 parameters), WideResNet-50-2 and -101-2 (Zagoruyko and
    Komodakis 2016) are `width_per_group: 128` (66,847,050 and 124,850,506).

    For images of ImageNet's size use `kind: torchvision`. BatchNorm needs `Net.stilled` wherever a Hessian is taken and
    cannot be trained by DP-SGD; `norm: group` has GroupNorm (Wu and He 2018) instead, which treats each sample alone.
    """

    kind: Literal["resnet"] = "resnet"
    depth: Literal[8, 18, 20, 50, 101] = Field(
        18, description="layers; 50 and 101 have bottlenecks, the others basic blocks"
    )
    width: int | None = Field(
        None,
        ge=1,
        description="channels of the first stage; each further stage doubles them; default: 16 for depth 8 and 20, "
        "64 for the others",
    )
    groups: int = Field(1, ge=1, description="groups of a bottleneck's 3x3 convolution; 32: ResNeXt")
    width_per_group: int = Field(
        BASE, ge=1, description="inner channels of a bottleneck in each group at 64 channels; 128: a wide net"
    )
    norm: Literal["batch", "group"] = Field("batch", description="normalisation; group: GroupNorm")
    norm_groups: int = Field(2, ge=1, description="groups of each GroupNorm; 32 is common in private training")

    @model_validator(mode="before")
    @classmethod
    def _published(cls, given: Any) -> Any:
        """The spec as resolved shows the width, so that a cell's parameters do too."""
        depth = given.get("depth", 18) if isinstance(given, dict) else None
        known = isinstance(depth, int) and given.get("width") is None
        return {**given, "width": WIDTHS[depth]} if known and depth in WIDTHS else given

    @model_validator(mode="after")
    def _bottlenecks(self) -> ResNet:
        """Basic blocks have no inner channels; a bottleneck's must be a whole number of at least one."""
        if (self.groups, self.width_per_group) == (1, BASE):
            return self
        if self.depth not in BOTTLENECKS:
            raise ValueError(f"groups and width_per_group ask for bottlenecks, which depth {self.depth} lacks; use 50")
        if self.channels * self.width_per_group % BASE:
            raise ValueError(
                f"width_per_group: {self.channels} * {self.width_per_group} / {BASE} inner channels in each group are "
                f"no whole number; use a width of {BASE}, or a multiple of {BASE} per group"
            )
        return self

    @model_validator(mode="after")
    def _divisible(self) -> ResNet:
        narrowest = min(self.channels, self.channels * self.width_per_group // BASE * self.groups)
        if self.norm == "group" and narrowest % self.norm_groups:
            raise ValueError(
                f"width: {narrowest} channels do not make the {self.norm_groups} groups of norm: group; use a multiple"
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
        from experiments.core.models._normalisation import normalisation

        require_images(shape, 8, f"ResNet-{self.depth}")
        wide, norm = self.channels, normalisation(self.norm, self.norm_groups)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], wide, 3, padding=1, bias=False), norm(wide), nn.ReLU()]
        blocks = {"stem": "2"}
        for stage, count in enumerate(STAGES[self.depth]):
            planes = self.channels * 2**stage
            for block in range(count):
                layers.append(self._block(wide, planes, 2 if stage and not block else 1, norm))
                wide = planes * self._kind.expansion
            blocks[f"layer{stage + 1}"] = str(len(layers) - 1)
        blocks["pool"] = str(len(layers))
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))
        return with_blocks(nn.Sequential(*layers, *head), blocks)

    @property
    def _kind(self) -> type[BasicBlock] | type[Bottleneck]:
        """The class of the residual blocks; `expansion` is how many times its inner channels it returns."""
        from torchvision.models import resnet

        return resnet.Bottleneck if self.depth in BOTTLENECKS else resnet.BasicBlock

    def _block(self, wide: int, planes: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
        """One residual block from `wide` channels; the shortcut is a 1x1 convolution where shapes differ."""
        from torch import nn

        kind = self._kind
        out = planes * kind.expansion
        shortcut = None
        if stride > 1 or wide != out:
            shortcut = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), norm(out))
        block = kind(wide, planes, stride, shortcut, self.groups, self.width_per_group, norm_layer=norm)
        block.relu.inplace = False  # an output stored by a hook must not be overwritten
        return block
