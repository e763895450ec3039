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
    parts = [(_by_rows if by_rows else _by_taps)(weight, part) for part in d.contiguous().split(size)]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    rows, columns = (slice(p, whole.shape[2 + i] - p) for i, p in enumerate(padding))
    return whole[:, :, rows, columns]


def _by_taps(weight: Tensor, d: Tensor) -> Tensor:
    """A product for every tap of the kernel, laid where the tap stands: [n, C, H + 2 padding, W + 2 padding]."""
    (out, channels, high, wide), (n, _, h, w) = weight.shape, d.shape
    taps = torch.matmul(weight.view(out, -1).T, d.flatten(2)).view(n, channels, high, wide, h, w)
    found = d.new_zeros(n, channels, h + high - 1, w + wide - 1)
    for i in range(high):
        for j in range(wide):
            found[:, :, i : i + h, j : j + w] += taps[:, :, i, j]
    return found


def _by_rows(weight: Tensor, d: Tensor) -> Tensor:
    """A product for every row of the kernel with patches of one row; else as `_by_taps`."""
    (out, channels, high, wide), (n, _, h, w) = weight.shape, d.shape
    padded = functional.pad(d, (wide - 1, wide - 1))
    n_, out_, h_, w_ = padded.stride()
    patches = padded.as_strided((n, out, wide, h, w + wide - 1), (n_, out_, w_, h_, w_)).reshape(n, out * wide, -1)
    kernels = weight.flip(3).permute(2, 1, 0, 3).reshape(high * channels, out * wide)
    rows = torch.matmul(kernels, patches).view(n, high, channels, h, -1)
    found = d.new_zeros(n, channels, h + high - 1, w + wide - 1)
    for i in range(high):
        found[:, :, i : i + h] += rows[:, i]
    return found
