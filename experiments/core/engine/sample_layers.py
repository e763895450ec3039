"""Gradients of single samples in the tensors of one layer, from its inputs and the gradients in its outputs.

What DP-SGD asks of them is their squared norms, and then one weighted sum. A `Part` knows both for one tensor: from
gradients written out, or, where those would be large, without them (ghost norms: Goodfellow 2015; Li et al. 2022),
whichever is cheaper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn import grad as of_layers

from experiments.core.engine.calls import Call, is_conv1d, is_recorded
from experiments.core.engine.patches import Grid, squares, written

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: of_layers.conv1d_weight,
    nn.Conv2d: of_layers.conv2d_weight,
    nn.Conv3d: of_layers.conv3d_weight,
}
_WRITING = 40
"""Multiplications that cost as much as one number of a gradient written out, read for its norm and for the sum.

Measured on one core: 64 to 512 channels, 3x3, and matrices after 8 to 128 places."""


def is_known(part: nn.Module) -> bool:
    """Whether `parts_of` can do this layer."""
    if type(part) in _CONVOLUTIONS:
        return part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return is_recorded(part)


class Part(ABC):
    """The gradients of n samples in one tensor."""

    @property
    @abstractmethod
    def squares(self) -> Tensor:
        """Their squared norms, [n]."""

    @property
    def nbytes(self) -> int:
        """Bytes of gradients written out."""
        return 0

    @abstractmethod
    def total(self, factor: Tensor) -> Tensor:
        """sum_s factor_s g_s in the tensor's shape or flat; factor [n]."""


@dataclass(frozen=True)
class Rows(Part):
    """Gradients written out, [n, numel]; their squared norms where they are known already."""

    rows: Tensor
    known: Tensor | None = None

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        return torch.linalg.vector_norm(self.rows, dim=1).square_() if self.known is None else self.known

    @property
    def nbytes(self) -> int:
        """See `Part`."""
        return self.rows.nbytes

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        return factor @ self.rows


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
        o, c, kh, kw = self.shape
        whole = factor @ self.rows.flatten(1)
        return whole.view(o, kh, kw, c).permute(0, 3, 1, 2) if self.inner else whole


@dataclass(frozen=True)
class Pairs(Part):
    """Gradients sum_t left_t right_t^T of a matrix, by products of pairs of places: left [n, T, O], right [n, T, D]."""

    left: Tensor
    right: Tensor

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        if self.left.shape[1] == 1:
            a, b = (torch.linalg.vector_norm(t, dim=(1, 2)) for t in (self.left, self.right))
            return (a * b).square_()
        products = (torch.bmm(t, t.transpose(1, 2)) for t in (self.left, self.right))
        return (next(products) * next(products)).sum((1, 2)).clamp_(min=0)

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        left = self.left * factor.view(-1, 1, 1)
        return left.flatten(0, 1).t() @ self.right.flatten(0, 1)


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
        return _kernel_gradient(self.call.layer, self.call.below, self.g * _like(factor, self.g))


@dataclass(frozen=True)
class Picked(Part):
    """Gradients of an embedding: only the rows of the ids that a sample has. g [n, T, E], ids [n, T]."""

    layer: nn.Embedding
    ids: Tensor
    g: Tensor

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        same = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).to(self.g)
        if self.layer.padding_idx is not None:
            same *= (self.ids != self.layer.padding_idx).unsqueeze(1)
        return (same * torch.bmm(self.g, self.g.transpose(1, 2))).sum((1, 2)).clamp_(min=0)

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        g, ids = (self.g * _like(factor, self.g)).flatten(0, 1), self.ids.flatten()
        if self.layer.padding_idx is not None:
            g = g * (ids != self.layer.padding_idx).unsqueeze(1)
        return g.new_zeros(self.layer.num_embeddings, g.shape[1]).index_add_(0, ids, g)


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
        added = _added(call.layer, g)
    if "bias" in tensors:
        parts["bias"] = Rows(added)
    if "weight" in tensors:
        parts["weight"] = Rows(_scale(call, g, added)) if isinstance(call.layer, NORMS) else _weight(call, g, sums)
    return parts


def _weight(call: Call, g: Tensor, sums: bool) -> Part:
    layer, below = call.layer, call.below
    if isinstance(layer, nn.Embedding):
        return Picked(layer, below.flatten(1), g.reshape(len(g), -1, g.shape[-1]))
    if type(layer) in _CONVOLUTIONS:
        return _kernel(call, g, sums)
    left, right = (t.reshape(len(t), -1, t.shape[-1]) for t in (g, below))
    if is_conv1d(layer):
        left, right = right, left
    places, out, deep = left.shape[1], left.shape[2], right.shape[2]
    if places == 1 or places * places * (out + deep) < _WRITING * out * deep:
        return Pairs(left, right)
    return Rows(torch.bmm(left.transpose(1, 2), right).flatten(1))


def _kernel(call: Call, g: Tensor, sums: bool) -> Part:
    """Of a convolution: two-dimensional ones without groups by patches or pairs, others sample by sample."""
    layer, below = call.layer, call.below
    assert isinstance(layer, nn.modules.conv._ConvNd)
    if layer.groups > 1 or g.dim() != 4:
        each = zip(below.split(1), g.split(1), strict=True)
        return Rows(torch.stack([_kernel_gradient(layer, b, d).flatten() for b, d in each]))
    assert isinstance(layer, nn.Conv2d)
    grid = Grid.of(layer, (g.shape[2], g.shape[3]))
    numel = layer.weight.numel()
    if _by_pairs(below, grid, g.shape[1], numel):
        return Convolved(call, g, squares(below, g, grid))
    rows = g.new_empty(len(g), g.shape[1], numel // g.shape[1]) if sums else None
    norms, inner = written(below, g, grid, rows)
    if rows is None:
        return Convolved(call, g, norms)
    return Kernels(rows, norms, tuple(layer.weight.shape), inner)


def _by_pairs(below: Tensor, grid: Grid, out: int, numel: int) -> bool:
    """Whether products of pairs of places cost less than gradients written out."""
    pixels = (below.shape[2] + 2 * grid.padding[0]) * (below.shape[3] + 2 * grid.padding[1])
    taps = grid.kernel[0] * grid.kernel[1]
    return pixels**2 * below.shape[1] + grid.count**2 * (out + taps) < _WRITING * numel


def _kernel_gradient(layer: nn.Module, below: Tensor, g: Tensor) -> Tensor:
    """Gradient of the sum of all samples' losses in a convolution's weight."""
    assert isinstance(layer, nn.modules.conv._ConvNd)
    weight_gradient = _CONVOLUTIONS[type(layer)]
    return weight_gradient(below, layer.weight.shape, g, layer.stride, layer.padding, layer.dilation, layer.groups)


def _like(factor: Tensor, g: Tensor) -> Tensor:
    return factor.view(-1, *[1] * (g.dim() - 1))


def _added(layer: nn.Module, g: Tensor) -> Tensor:
    """The gradient [n, width] in what is added to a layer's output, from the gradient in that output."""
    if isinstance(layer, nn.LayerNorm):
        return g.reshape(len(g), -1, layer.weight.numel()).sum(1)
    if isinstance(layer, (nn.modules.conv._ConvNd, *NORMS)):
        return g.sum(tuple(range(2, g.dim()))) if g.dim() > 2 else g
    return g.reshape(len(g), -1, g.shape[-1]).sum(1)


def _scale(call: Call, g: Tensor, added: Tensor) -> Tensor:
    """Gradients [n, width] in a normalisation's weight: its output before weight and bias, weighed by g and summed."""
    layer, below = call.layer, call.below
    if call.statistics is not None and isinstance(layer, nn.modules.batchnorm._BatchNorm):
        mean, variance = call.statistics
        return (_added(layer, g * below) - mean * added) * (variance + layer.eps).rsqrt()
    if isinstance(layer, nn.LayerNorm):
        plain = functional.layer_norm(below, layer.normalized_shape, None, None, layer.eps)
    else:
        assert isinstance(layer, nn.GroupNorm)
        plain = functional.group_norm(below, layer.num_groups, None, None, layer.eps)
    return _added(layer, g * plain)
