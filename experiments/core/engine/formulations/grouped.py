"""Convolutions of all models as one grouped convolution; the inputs' convolution as one wide one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.formulations._stacked import Stacked


class Grouped(Stacked):
    """One group a model. On the shared inputs there is nothing to group: B*O output channels of one convolution."""

    name = "grouped"

    def _convolve(self, layer: nn.Conv2d, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        b, o = weight.shape[:2]
        shared = value.dim() == 4
        x = value if shared else value.transpose(0, 1).flatten(1, 2)
        out = functional.conv2d(
            x,
            weight.flatten(0, 1),
            None if bias is None else bias.reshape(-1),
            layer.stride,
            layer.padding,
            layer.dilation,
            groups=1 if shared else b,
        )
        return out.unflatten(1, (b, o)).transpose(0, 1)
