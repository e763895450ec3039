"""A stacked forward pass for Sequentials with convolutions; the formulations differ in how they convolve."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._common import (
    ELEMENTWISE,
    POOLS,
    flattens_all,
    is_plain_conv,
    is_plain_linear,
    layers,
    sample_scale,
    tensor_names,
)
from experiments.core.engine.net import Net


class Stacked(Formulation):
    """All models in one pass, activations [B, n, ...]; one ordinary backward for the sum of their losses."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._layers = layers(net.module) or []

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Sequentials of Conv2d, pooling, activations, Flatten and Linear with at least one convolution."""
        parts = [layer for _, layer in layers(net.module) or []]
        plain = all(
            is_plain_conv(k) or is_plain_linear(k) or flattens_all(k) or type(k) in ELEMENTWISE or _is_pool(k)
            for k in parts
        )
        return plain and any(is_plain_conv(k) for k in parts)

    @abstractmethod
    def _convolve(self, layer: nn.Conv2d, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Value [n, C, H, W] (shared) or [B, n, C, H, W], weight [B, O, C, k, k], bias [B, O] -> [B, n, O, H', W']."""

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`."""
        leaf = theta.detach().requires_grad_(True)
        outputs = self._forward(leaf, x)
        loss = (self.net.losses(outputs, y) * sample_scale(weight, len(x), outputs)).sum()
        return torch.autograd.grad(loss, leaf)[0][:, : self.net.p]

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        with torch.no_grad():
            return self._forward(theta, x)

    def _forward(self, theta: Tensor, x: Tensor) -> Tensor:
        """[B, n, C]; `value` stays shared, without the leading B, until the first layer with weights."""
        tensors = self.net.views(theta)
        value, shared = x, True
        for name, layer in self._layers:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                w, bias = (tensors.get(t) for t in tensor_names(name))
                assert w is not None
                if isinstance(layer, nn.Conv2d):
                    value = self._convolve(layer, value, w, bias)
                else:
                    value = value @ w.transpose(1, 2)
                    value = value if bias is None else value + bias.unsqueeze(1)
                shared = False
            elif type(layer) in POOLS:
                value = layer(value) if shared else layer(value.flatten(0, 1)).unflatten(0, value.shape[:2])
            elif isinstance(layer, nn.Flatten):
                value = value.flatten(1 if shared else 2)
            else:
                value = layer(value)
        return value


def _is_pool(layer: nn.Module) -> bool:
    return type(layer) in POOLS and not getattr(layer, "return_indices", False)
