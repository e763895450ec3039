"""Gradients of single samples in the weight of a convolution, from its input and the gradient in its output.

A weight [O, C, kh, kw] meets, at each of T places, a patch of D = C kh kw inputs. A sample's gradient is the product of
[O, T] output gradients and [T, D] patches: `written` makes it for a few samples at a time, while both lie in the cache.
Its squared norm is also the sum over pairs of places of (patch . patch) (gradient . gradient) (Goodfellow 2015; Li et
al. 2022, section 4): `squares` needs no patches for that, as a product of two patches is a sum of products of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_CACHE = {"cpu": 2 << 20, "cuda": 256 << 20}
"""Bytes of patches made at once."""


@dataclass(frozen=True)
class Grid:
    """Where an ungrouped two-dimensional convolution looks: pairs (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    places: tuple[int, int]

    @classmethod
    def of(cls, layer: nn.Conv2d, places: tuple[int, int]) -> Grid:
        """The layer's, for outputs of so many rows and columns."""
        assert not isinstance(layer.padding, str)
        kernel, stride, padding, dilation = (
            (int(v[0]), int(v[1])) for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        return cls(kernel, stride, padding, dilation, places)

    @property
    def count(self) -> int:
        """T."""
        return self.places[0] * self.places[1]

    def padded(self, x: Tensor) -> Tensor:
        """X [n, h, w, c] or [n, c, h, w] as `axes` has it, with its border of zeros."""
        (top, side) = self.padding
        return functional.pad(x, (0, 0, side, side, top, top)) if top or side else x

    def windows(self, x: Tensor) -> Tensor:
        """A view of padded x [n, h, w, c]: [n, rows, columns, kh, kw, c]."""
        n, _, _, c = x.shape
        a, h, w, k = x.stride()
        (sh, sw), (dh, dw) = self.stride, self.dilation
        steps = (a, h * sh, w * sw, h * dh, w * dw, k)
        return x.as_strided((n, *self.places, *self.kernel, c), steps, x.storage_offset())


def written(below: Tensor, g: Tensor, grid: Grid, out: Tensor | None) -> tuple[Tensor, bool]:
    """Squared norms [n], and into out [n, O, D] the gradients; without `out` they are forgotten.

    Returns:
        The norms, and whether a gradient is laid out [O, kh, kw, C] rather than [O, C, kh, kw].
    """
    inner = is_inner(below, grid)
    n, wide = len(below), g.shape[1]
    squares = below.new_empty(n)
    for rows, patches in _patches(below, grid, inner):
        left = _places_last(g[rows])
        here = None if out is None else out[rows]
        made = torch.bmm(left, patches) if here is None else torch.bmm(left, patches, out=here)
        torch.linalg.vector_norm(made.view(len(made), wide * made.shape[2]), dim=1, out=squares[rows])
    return squares.square_(), inner


def is_inner(below: Tensor, grid: Grid) -> bool:
    """Whether patches are copied channel by channel (the runs of memory are longer so) rather than row by row."""
    return below.shape[1] * grid.kernel[1] > grid.places[1]


def _patches(below: Tensor, grid: Grid, inner: bool) -> Iterator[tuple[slice, Tensor]]:
    """Some samples, and their patches [m, T, D] in memory that the next ones overwrite."""
    n, c = below.shape[:2]
    deep = c * grid.kernel[0] * grid.kernel[1]
    limit = _CACHE["cpu" if below.device.type == "cpu" else "cuda"]
    step = max(1, min(n, limit // (grid.count * deep * below.element_size())))
    memory = below.new_empty(step * grid.count * deep)
    for a in range(0, n, step):
        rows = slice(a, min(n, a + step))
        m = rows.stop - a
        if inner:
            seen = grid.windows(grid.padded(below[rows].permute(0, 2, 3, 1).contiguous()))
        else:
            top, side = grid.padding
            pixels = below[rows].contiguous()
            pixels = functional.pad(pixels, (side, side, top, top)) if top or side else pixels
            seen = grid.windows(pixels.permute(0, 2, 3, 1)).permute(0, 5, 3, 4, 1, 2)
        space = memory[: m * grid.count * deep]
        space.view(seen.shape).copy_(seen)
        patches = space.view(m, grid.count, deep) if inner else space.view(m, deep, grid.count).transpose(1, 2)
        yield rows, patches


def _places_last(g: Tensor) -> Tensor:
    """[m, O, rows, columns] -> [m, O, T], without a copy in either layout of images."""
    if g.is_contiguous():
        return g.flatten(2)
    return g.permute(0, 2, 3, 1).reshape(len(g), -1, g.shape[1]).transpose(1, 2)


def squares(below: Tensor, g: Tensor, grid: Grid) -> Tensor:
    """Squared norms [n] of the gradients of single samples, by the products of pairs of places."""
    n = len(below)
    pixels = grid.padded(below.permute(0, 2, 3, 1))
    high, wide, c = pixels.shape[1:]
    flat = pixels.reshape(n, high * wide, c)
    products = torch.bmm(flat, flat.transpose(1, 2)).view(n, high, wide, high, wide)
    met = _sum_over_taps(products, grid).reshape(n, grid.count, grid.count)
    left = _places_last(g)
    return (met * torch.bmm(left.transpose(1, 2), left)).sum((1, 2)).clamp_(min=0)


def _sum_over_taps(products: Tensor, grid: Grid) -> Tensor:
    """Products of pixels [n, h, w, h, w] -> products of patches [n, rows, columns, rows, columns]."""
    total: Tensor | None = None
    (sh, sw), (dh, dw), (high, wide) = grid.stride, grid.dilation, grid.places
    for i in range(grid.kernel[0]):
        for j in range(grid.kernel[1]):
            rows = slice(i * dh, i * dh + (high - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (wide - 1) * sw + 1, sw)
            part = products[:, rows, columns, rows, columns]
            total = part.clone() if total is None else total.add_(part)
    assert total is not None
    return total
