"""LeNet-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn


class LeNet(Block):
    """LeNet-5 (LeCun et al. 1998) as it is built today: 44,426 parameters for 1x28x28 and 10 classes.

    Two 5x5 convolutions without padding (6 and 16 channels), each followed by a 2x2 max-pool, then dense 120, 84, out.
    `norm: group` puts a GroupNorm of two groups (Wu and He 2018) between each convolution and its activation: 44 more
    parameters, 44,470. It treats each sample alone, as DP-SGD requires.
    """

    kind: Literal["lenet"] = "lenet"
    activation: Literal["relu", "tanh"] = Field("relu", description="after each layer but the last")
    norm: Literal["none", "group"] = Field("none", description="behind each convolution; group: GroupNorm, two groups")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W], H and W at least 16, to outputs [n, classes].

        Blocks: conv1, conv2, fc1, fc2.

        Raises:
            SpecError: the inputs are no images, or too small.
        """
        from torch import nn

        from experiments.core.models._blocks import with_blocks
        from experiments.core.models._images import require_images

        require_images(shape, 16, "LeNet")
        act = {"relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]
        behind: dict[str, Callable[[int], list[nn.Module]]] = {
            "none": lambda channels: [],
            "group": lambda channels: [nn.GroupNorm(2, channels)],
        }
        norm = behind[self.norm]
        height, width = (((side - 4) // 2 - 4) // 2 for side in shape[1:])
        module = nn.Sequential(
            *(nn.Conv2d(shape[0], 6, 5), *norm(6), act(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), *norm(16), act(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(16 * height * width, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, classes)),
        )
        return with_blocks(module)
