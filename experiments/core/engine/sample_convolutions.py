"""Gradients of single samples in the weight of a convolution: written out, or known by their norms alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import grad as of_layers

from experiments.core.engine.calls import Call
from experiments.core.engine.patches import Grid, fitting, is_inner, squares, written
from experiments.core.engine.sample_parts import WRITING, Part, Rows, spread

CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: of_layers.conv1d_weight,
    nn.Conv2d: of_layers.conv2d_weight,
    nn.Conv3d: of_layers.conv3d_weight,
}
"""The layers, and the gradient in their weights from inputs and output gradients."""
_ADDING = 16
"""Multiplications that cost as much as one addition of a product of pixels to a product of patches."""


@dataclass(frozen=True)
class Kernels(Part):
    """Gradients of a convolution's weight [O, C, kh, kw], written out as `shape` says: the channels may come last."""

    rows: Tensor
    squares_: Tensor
    shape: tuple[int, ...]
    inner: bool

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        return self.squares_

    @property
    def nbytes(self) -> int:
        """See `Part`."""
        return self.rows.nbytes

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        return self._channels_first((factor @ self.rows.flatten(1)).unsqueeze(0))[0]

    def each(self) -> Tensor:
        """See `Part`."""
        return self._channels_first(self.rows)

    def _channels_first(self, rows: Tensor) -> Tensor:
        o, c, kh, kw = self.shape
        rows = rows.view(-1, o, kh, kw, c).permute(0, 1, 4, 2, 3) if self.inner else rows
        return rows.reshape(len(rows), -1)


@dataclass(frozen=True)
class Convolved(Part):
    """Gradients of a convolution's weight, whose squared norms are known and whose sum is one backward of the layer."""

    call: Call
    g: Tensor
    squares_: Tensor

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        return self.squares_

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        return _gradient(self.call.layer, self.call.below, self.g * spread(factor, self.g))

    def each(self) -> Tensor:
        """See `Part`."""
        return _kernels(self.call, self.g).each()


def kernel(call: Call, g: Tensor, sums: bool) -> Part:
    """The part of a convolution's weight: two-dimensional ones without groups by patches or pairs, others one by one.

    Without `sums` nothing is kept for `total`.
    """
    layer, below = call.layer, call.below
    assert isinstance(layer, nn.modules.conv._ConvNd)
    if layer.groups > 1 or g.dim() != 4:
        each = zip(below.split(1), g.split(1), strict=True)
        return Rows(torch.stack([_gradient(layer, b, d).flatten() for b, d in each]))
    assert isinstance(layer, nn.Conv2d)
    grid = Grid.of(layer, (g.shape[2], g.shape[3]))
    if _by_pairs(below, grid, g.shape[1], layer.weight.numel()):
        return Convolved(call, g, squares(below, g, grid))
    return _kernels(call, g) if sums else Convolved(call, g, _kernels(call, g, fitting(below, grid, len(g))).squares)


def _kernels(call: Call, g: Tensor, kept: int | None = None) -> Kernels:
    """Gradients written out; the last `kept` of them, the others overwritten, or all."""
    layer, below = call.layer, call.below
    assert isinstance(layer, nn.Conv2d)
    grid = Grid.of(layer, (g.shape[2], g.shape[3]))
    rows = g.new_empty(kept or len(g), g.shape[1], layer.weight.numel() // g.shape[1])
    norms = g.new_empty(len(g))
    for made in written(below, g, grid, rows):
        here = rows[made] if len(rows) == len(g) else rows[: made.stop - made.start]
        torch.linalg.vector_norm(here.flatten(1), dim=1, out=norms[made])
    return Kernels(rows, norms.square_(), tuple(layer.weight.shape), is_inner(below, grid))


def _by_pairs(below: Tensor, grid: Grid, out: int, numel: int) -> bool:
    """Whether products of pairs of places cost less than gradients written out."""
    pixels = (below.shape[2] + 2 * grid.padding[0]) * (below.shape[3] + 2 * grid.padding[1])
    taps = grid.kernel[0] * grid.kernel[1]
    return pixels**2 * below.shape[1] + grid.count**2 * (out + _ADDING * taps) < WRITING * numel


def _gradient(layer: nn.Module, below: Tensor, g: Tensor) -> Tensor:
    """Gradient of the sum of all samples' losses in a convolution's weight."""
    assert isinstance(layer, nn.modules.conv._ConvNd)
    of_layer = CONVOLUTIONS[type(layer)]
    return of_layer(below, layer.weight.shape, g, layer.stride, layer.padding, layer.dilation, layer.groups)
