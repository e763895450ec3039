"""Linear and convolution layers as `_plis_operation` has them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from experiments.core.engine.patches import Grid
from experiments.core.estimators.numerics._plis_operation import Operation

_WIDE = 16
"""From this many channels on a CPU's convolutions with a kernel for every sample are faster than patches."""

_Pair = tuple[int, int]


class LinearOfVectors(Operation):
    """Linear on a [n, in]: the gradient d a^T has rank one."""

    def outputs(self, a: Tensor) -> Tensor:
        """See `Operation`."""
        return functional.linear(a, self.weight, self.bias)

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return d @ self.weight

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """See `Operation`."""
        weight, bias = self.trained
        self._length = d.square().sum(1, keepdim=True) * weight
        seed = d * (a.square().sum(1, keepdim=True) * weight + bias)
        return seed if self.lowest else seed.addmm_(t, self.weight.T)

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return torch.addmm(a * self._length, d, self.weight)


class LinearOfRows(Operation):
    """Linear on a [n, ..., in]: a sum of outer products over the rows of a sample."""

    def outputs(self, a: Tensor) -> Tensor:
        """See `Operation`."""
        return functional.linear(a, self.weight, self.bias)

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return d @ self.weight

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """See `Operation`."""
        weight, bias = self.trained
        seed = functional.linear(t, self.weight)
        self._d, columns = _columns(d), _columns(a)
        if weight:
            self._products = Products(columns, self._d)
            seed += self._products.above(columns, self._d).transpose(1, 2).view_as(d)
        if bias:
            seed += self._d.sum(2).view(len(d), *[1] * (d.dim() - 2), -1)
        return seed

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        found = d @ self.weight
        if self.trained[0]:
            found += self._products.below(_columns(a), self._d).transpose(1, 2).view_as(a)
        return found

    def kept(self, y: Tensor) -> int:
        """See `Operation`."""
        return min(self.weight.numel(), y[0, ..., 0].numel() ** 2)


class Convolution(Operation):
    """Conv2d with zero padding and numbers for it, as products with patches [n groups, taps, places]."""

    part: nn.Conv2d

    @property
    def _options(self) -> tuple[_Pair, _Pair, _Pair, int]:
        part = self.part
        return (
            cast(_Pair, part.stride),
            cast(_Pair, part.padding),
            cast(_Pair, part.dilation),
            part.groups,
        )

    def outputs(self, a: Tensor) -> Tensor:
        """See `Operation`."""
        return functional.conv2d(a, self.weight, self.bias, *self._options)

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return conv2d_input(list(a.shape), self.weight, d, *self._options)

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """See `Operation`."""
        weight, bias = self.trained
        self._d = d
        seed = self._above(a, d) if weight else torch.zeros_like(d)
        if not self.lowest:
            seed += functional.conv2d(t, self.weight, None, *self._options)
        if bias:
            seed += d.sum((2, 3), keepdim=True)
        return seed

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        found = self.adjoint(a, d)
        return found.add_(self._below(a)) if self.trained[0] else found

    def kept(self, y: Tensor) -> int:
        """See `Operation`."""
        return min(self.weight.numel(), self.part.groups * y[0, 0].numel() ** 2)

    def _above(self, a: Tensor, d: Tensor) -> Tensor:
        columns, deltas = self._patches(a, d), self._deltas(d)
        self._products = Products(columns, deltas)
        return self._products.above(columns, deltas).view_as(d)

    def _below(self, a: Tensor) -> Tensor:
        columns = a if self._products.direct else self._patches(a, self._d)
        return self._folded(self._products.below(columns, self._deltas(self._d)), a)

    def _deltas(self, d: Tensor) -> Tensor:
        """[n groups, out, places]."""
        return d.reshape(len(d) * self.part.groups, -1, d.shape[2] * d.shape[3])

    def _patches(self, a: Tensor, d: Tensor) -> Tensor:
        """[n groups, taps, places] of a [n, C, H, W]."""
        return self._grid(d).unfolded(a).view(len(a) * self.part.groups, -1, d.shape[2] * d.shape[3])

    def _folded(self, columns: Tensor, a: Tensor) -> Tensor:
        """The adjoint of `_patches`: [n groups, taps, places] -> [like a]."""
        grid = self._grid(self._d)
        return grid.folded(columns.view(*a.shape[:2], *grid.kernel, *grid.places), a.shape[2], a.shape[3])

    def _grid(self, d: Tensor) -> Grid:
        return Grid.of(self.part, (d.shape[2], d.shape[3]))


class NarrowConvolution(Convolution):
    """A convolution of few channels, of which both adjoints of `closed` go together: one product, one fold."""

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        if not self.trained[0] or not self._products.direct or self.part.groups > 1:
            return super().closed(a, d)
        n, out = len(d), d.shape[1]
        kernels = torch.cat([self.weight.view(1, out, -1).expand(n, -1, -1), self._products.kept], 1)
        deltas = torch.cat([self._deltas(d), self._deltas(self._d)], 1)
        return self._folded(torch.bmm(kernels.transpose(1, 2), deltas), a)


class WideConvolution(Convolution):
    """A convolution of many channels on a CPU: every sample is a group of one convolution with its own kernel."""

    def _above(self, a: Tensor, d: Tensor) -> Tensor:
        stride, padding, dilation, groups = self._options
        shape, self._groups = self.weight.shape, len(a) * groups
        own = [len(a) * shape[0], *shape[1:]]
        self._kernels = conv2d_weight(_joined(a), own, _joined(d), stride, padding, dilation, self._groups)
        return functional.conv2d(_joined(a), self._kernels, None, stride, padding, dilation, self._groups).view_as(d)

    def _below(self, a: Tensor) -> Tensor:
        shape = list(_joined(a).shape)
        return conv2d_input(shape, self._kernels, _joined(self._d), *self._options[:3], self._groups).view_as(a)


class Products:
    """Products of each sample's gradient g = D P^T [out, taps] with P [n, taps, places] and D [n, out, places].

    Where there are few places g is not formed: g P = D (P^T P), and g^T D = P (D^T D).
    """

    def __init__(self, columns: Tensor, deltas: Tensor) -> None:
        taps, places, out = *columns.shape[1:], deltas.shape[1]
        self.direct = is_direct(taps, out, places)
        self.kept = torch.bmm(deltas, columns.mT) if self.direct else torch.bmm(deltas.mT, deltas)

    def above(self, columns: Tensor, deltas: Tensor) -> Tensor:
        """G P: [n, out, places]."""
        if self.direct:
            return torch.bmm(self.kept, columns)
        return torch.bmm(deltas, torch.bmm(columns.mT, columns))

    def below(self, columns: Tensor, deltas: Tensor) -> Tensor:
        """g^T D: [n, taps, places]."""
        return torch.bmm(self.kept.mT, deltas) if self.direct else torch.bmm(columns, self.kept)


def is_direct(taps: int, out: int, places: int) -> bool:
    """Whether to form a sample's gradient: three products with it against four with a matrix of places by places."""
    return places * (taps + out) >= taps * out


def linear(part: nn.Linear, a: Tensor) -> type[Operation]:
    """The operation for a linear layer with inputs a."""
    return LinearOfVectors if a.dim() == 2 else LinearOfRows


def convolution(part: nn.Conv2d, a: Tensor) -> type[Operation]:
    """The fastest operation for a convolution with inputs a [n, C, H, W]."""
    into, out, high, wide = part.in_channels // part.groups, part.out_channels // part.groups, *part.kernel_size
    if min(into, out) < _WIDE:
        return NarrowConvolution
    places = 1
    for i in (0, 1):
        reach = part.dilation[i] * (part.kernel_size[i] - 1) + 1
        places *= (a.shape[2 + i] + 2 * cast(_Pair, part.padding)[i] - reach) // part.stride[i] + 1
    fast = a.device.type == "cpu" and a.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    own = fast and high * wide > 1 and is_direct(into * high * wide, out, places)
    return WideConvolution if own else Convolution


def _columns(rows: Tensor) -> Tensor:
    """[n, ..., width] -> [n, width, rows]."""
    return rows.reshape(len(rows), -1, rows.shape[-1]).transpose(1, 2)


def _joined(images: Tensor) -> Tensor:
    """[n, C, H, W] -> [1, n C, H, W]."""
    return images.reshape(1, -1, *images.shape[2:])
