"""Convolutions as products with patches, the patches of the inputs shared by all models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.formulations._stacked import Stacked


class Im2col(Stacked):
    """The inputs' patches once, times all models' first weights as one product; then a batched product a layer."""

    name = "im2col"

    def _convolve(self, layer: nn.Conv2d, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        b, o = weight.shape[:2]
        shared = value.dim() == 4
        n = value.shape[0 if shared else 1]
        assert isinstance(layer.padding, tuple)
        size = [
            (value.shape[-2 + i] + 2 * layer.padding[i] - layer.dilation[i] * (layer.kernel_size[i] - 1) - 1)
            // layer.stride[i]
            + 1
            for i in (0, 1)
        ]
        x = value if shared else value.flatten(0, 1)
        # [n or B n, Ckk, L]
        patches = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        if shared:
            columns = patches.transpose(0, 1).flatten(1)  # [Ckk, n L]
            out = (weight.reshape(b * o, -1) @ columns).view(b, o, n, -1)
        else:
            columns = patches.unflatten(0, (b, n)).transpose(1, 2).flatten(2)  # [B, Ckk, n L]
            out = torch.bmm(weight.flatten(2), columns).view(b, o, n, -1)
        if bias is not None:
            out = out + bias.view(b, o, 1, 1)
        return out.transpose(1, 2).unflatten(-1, size)

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """Patches of each convolution, their gradients and the activations (float64)."""
        widest = max(
            k.in_channels * k.kernel_size[0] * k.kernel_size[1]
            for k in self.net.module.modules()
            if isinstance(k, nn.Conv2d)
        )
        return 8 * 3 * n * widest * shape[-1] * shape[-2]
