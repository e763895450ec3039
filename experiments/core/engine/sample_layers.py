"""Gradients of single samples in the tensors of one layer, from its inputs and the gradients in its outputs.

Whether a gradient is written out or only its norm is found depends on what is cheaper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.calls import Call, is_conv1d, is_recorded
from experiments.core.engine.sample_convolutions import CONVOLUTIONS, kernel
from experiments.core.engine.sample_parts import WRITING, Pairs, Part, Picked, Rows

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def is_known(part: nn.Module) -> bool:
    """Whether `parts_of` can do this layer."""
    if type(part) in CONVOLUTIONS:
        return part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return is_recorded(part)


def parts_of(call: Call, tensors: set[str], g: Tensor, sums: bool = True) -> dict[str, Part]:
    """The gradients in some of a layer's own tensors (weight, bias), by their names.

    Args:
        call: with inputs [n, ...].
        tensors: the names.
        g: gradients in its outputs, [n, ...].
        sums: `total` will be asked for, too; if not, nothing is kept for it.
    """
    parts: dict[str, Part] = {}
    if "bias" in tensors or isinstance(call.layer, NORMS):
        added = gradient_added(call.layer, g)
    if "bias" in tensors:
        parts["bias"] = Rows(added)
    if "weight" in tensors:
        parts["weight"] = (
            Rows(gradient_of_scale(call, g, added)) if isinstance(call.layer, NORMS) else _weight(call, g, sums)
        )
    return parts


def _weight(call: Call, g: Tensor, sums: bool) -> Part:
    layer, below = call.layer, call.below
    if isinstance(layer, nn.Embedding):
        return Picked(layer, below.flatten(1), g.reshape(len(g), -1, g.shape[-1]))
    if type(layer) in CONVOLUTIONS:
        return kernel(call, g, sums)
    left, right = (t.reshape(len(t), -1, t.shape[-1]) for t in (g, below))
    if is_conv1d(layer):
        left, right = right, left
    places, out, deep = left.shape[1], left.shape[2], right.shape[2]
    if places == 1 or places * places * (out + deep) < WRITING * out * deep:
        return Pairs(left, right)
    return Rows(torch.bmm(left.transpose(1, 2), right).flatten(1))


def gradient_added(layer: nn.Module, g: Tensor) -> Tensor:
    """The gradient [n, width] in what is added to a layer's output, from the gradient in that output."""
    if isinstance(layer, nn.LayerNorm):
        return g.reshape(len(g), -1, layer.weight.numel()).sum(1)
    if isinstance(layer, (nn.modules.conv._ConvNd, *NORMS)):
        return g.reshape(len(g), g.shape[1], -1).sum(2)
    return g.reshape(len(g), -1, g.shape[-1]).sum(1)


def gradient_of_scale(call: Call, g: Tensor, added: Tensor) -> Tensor:
    """Gradients [n, width] in a normalisation's weight: its output before weight and bias, weighed by g and summed.

    Args:
        call: of the layer. g: [n, ...] the gradient in its output. added: [n, width], see `gradient_added`.
    """
    layer, below = call.layer, call.below
    if call.statistics is not None and isinstance(layer, nn.modules.batchnorm._BatchNorm):
        mean, variance = call.statistics
        return (gradient_added(layer, g * below) - mean * added) * (variance + layer.eps).rsqrt()
    if isinstance(layer, nn.LayerNorm):
        plain = functional.layer_norm(below, layer.normalized_shape, None, None, layer.eps)
    else:
        assert isinstance(layer, nn.GroupNorm)
        plain = functional.group_norm(below, layer.num_groups, None, None, layer.eps)
    return gradient_added(layer, g * plain)
