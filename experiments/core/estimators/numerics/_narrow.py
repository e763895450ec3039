"""A convolution of few channels whose gradient in its inputs is a product and a few shifted sums.

On a CPU PyTorch takes longer for that gradient of a first layer (one or three channels) than for all other layers of a
small net together: five times as long as this for LeNet.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from experiments.core.engine.formulations._common import is_changed, is_plain_conv
from experiments.core.engine.patches import Grid

_FEW = 4
"""Channels of the inputs up to which this is faster."""
_BLOCK = 8 << 20  # bytes of the intermediate product of one block of samples

_Pair = tuple[int, int]


def narrowed(module: nn.Module) -> nn.Module:
    """The module, its own convolutions of few channels replaced, in evaluation mode; see `private`."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and is_plain_conv(part) and not is_changed(part) and _fits(part):
            part.forward = partial(_convolved, part)  # type: ignore[method-assign]
    return module.eval()


def _fits(part: nn.Conv2d) -> bool:
    return part.in_channels <= _FEW and part.stride == part.dilation == (1, 1)


def _convolved(part: nn.Conv2d, x: Tensor) -> Tensor:
    padding = cast(_Pair, part.padding)
    if x.device.type != "cpu" or x.dim() != 4 or part.weight.requires_grad:
        return functional.conv2d(x, part.weight, part.bias, padding=padding)
    return _Convolution.apply(x, part.weight, part.bias, padding)  # type: ignore[no-untyped-call, no-any-return]


class _Convolution(torch.autograd.Function):
    """The convolution of x with a constant weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: _Pair) -> Tensor:
        ctx.weight, ctx.padding = weight, padding
        return functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return adjoint(ctx.weight, d, ctx.padding), None, None, None


def adjoint(weight: Tensor, d: Tensor, padding: _Pair) -> Tensor:
    """Gradient in the inputs [n, C, H, W] of a convolution, from that in its outputs d [n, out, h, w]."""
    out, channels, high, wide = weight.shape
    by_rows = out < channels * high  # then the gradients' patches are fewer than the inputs'
    numbers = wide * (out if by_rows else channels * high) * d[0, 0].numel()
    size = max(1, _BLOCK // (numbers * d.element_size()))
    parts = [(_by_rows if by_rows else _by_taps)(weight, part, padding) for part in d.contiguous().split(size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_taps(weight: Tensor, d: Tensor, padding: _Pair) -> Tensor:
    """A product for every tap of the kernel, laid where the tap stands."""
    (out, channels, high, wide), (n, _, h, w) = weight.shape, d.shape
    taps = torch.matmul(weight.view(out, -1).T, d.flatten(2)).view(n, channels, high, wide, h, w)
    grid = Grid((high, wide), (1, 1), padding, (1, 1), (h, w))
    return grid.folded(taps, h + high - 1 - 2 * padding[0], w + wide - 1 - 2 * padding[1])


def _by_rows(weight: Tensor, d: Tensor, padding: _Pair) -> Tensor:
    """A product for every row of the kernel with patches of one row, laid where the row stands."""
    (out, channels, high, wide), (n, _, h, w) = weight.shape, d.shape
    across = w + wide - 1
    patches = Grid((1, wide), (1, 1), (0, wide - 1), (1, 1), (h, across)).unfolded(d)
    kernels = weight.flip(3).permute(1, 2, 0, 3).reshape(channels * high, out * wide)
    rows = torch.matmul(kernels, patches).view(n, channels, high, 1, h, across)
    whole = Grid((high, 1), (1, 1), (padding[0], 0), (1, 1), (h, across)).folded(
        rows, h + high - 1 - 2 * padding[0], across
    )
    return whole[:, :, :, padding[1] : across - padding[1]]
