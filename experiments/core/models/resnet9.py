"""The nine-layer residual net that private training on small images takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn


class ResNet9(Block):
    """ResNet-9 of DAWNBench (Page 2018): eight 3x3 convolutions and one dense layer, made for CIFAR-10 in minutes.

    Convolutions of 64, 128, 256, 512 channels, each with its normalisation and ReLU, a 2x2 max-pool behind the last
    three; behind those of 128 and 512 a residual pair of the same width; global max-pool, dense. 6,573,130 parameters
    for 3x32x32 and 10 classes. Published without a bias of the dense layer and with its outputs divided by 8; here it
    is a plain dense layer. `norm: group` has GroupNorm (Wu and He 2018), which treats each sample alone.
    """

    kind: Literal["resnet9"] = "resnet9"
    width: int = Field(64, ge=1, description="channels of the first convolution; the others have 2, 4 and 8 times them")
    norm: Literal["batch", "group"] = Field("batch", description="normalisation; group: GroupNorm")
    norm_groups: int = Field(2, ge=1, description="groups of each GroupNorm; 32 is common in private training")

    @model_validator(mode="after")
    def _divisible(self) -> ResNet9:
        if self.norm == "group" and self.width % self.norm_groups:
            raise ValueError(
                f"width: {self.width} channels do not make the {self.norm_groups} groups of norm: group; use a multiple"
            )
        return self

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 16, to outputs [n, classes].

        Blocks: conv1, conv2, res1, conv3, conv4, res2, pool.

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images
        from experiments.core.models._normalisation import normalisation
        from experiments.core.models.numerics.residual import Residual

        require_images(shape, 16, "ResNet-9")
        w, norm = self.width, normalisation(self.norm, self.norm_groups)
        parts = {
            "conv1": nn.Sequential(*_conv(shape[0], w, norm)),
            "conv2": nn.Sequential(*_conv(w, 2 * w, norm), nn.MaxPool2d(2)),
            "res1": Residual(*_conv(2 * w, 2 * w, norm), *_conv(2 * w, 2 * w, norm)),
            "conv3": nn.Sequential(*_conv(2 * w, 4 * w, norm), nn.MaxPool2d(2)),
            "conv4": nn.Sequential(*_conv(4 * w, 8 * w, norm), nn.MaxPool2d(2)),
            "res2": Residual(*_conv(8 * w, 8 * w, norm), *_conv(8 * w, 8 * w, norm)),
            "pool": nn.AdaptiveMaxPool2d(1),
        }
        blocks = {name: str(place) for place, name in enumerate(parts)}
        return with_blocks(nn.Sequential(*parts.values(), nn.Flatten(), nn.Linear(8 * w, classes)), blocks)


def _conv(wide: int, out: int, norm: Callable[[int], nn.Module]) -> tuple[nn.Module, ...]:
    """A 3x3 convolution that keeps the size, its normalisation and a ReLU."""
    from torch import nn

    return nn.Conv2d(wide, out, 3, padding=1, bias=False), norm(out), nn.ReLU()
