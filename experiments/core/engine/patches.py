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

_CACHE = {"cpu": 2 << 20, "cuda": 256 << 20}
"""Bytes of patches made at once."""
_ROWS = torch.contiguous_format


@dataclass(frozen=True)
class Grid:
    """Where a two-dimensional convolution looks: pairs (rows, columns)."""

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
        """X [n, c, h, w] with its border of zeros, in the layout it has."""
        (top, side) = self.padding
        if not top and not side:
            return x
        n, c, h, w = x.shape
        layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        size = (n, c, h + 2 * top, w + 2 * side)
        wide = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout).zero_()
        wide[:, :, top : top + h, side : side + w] = x
        return wide

    def windows(self, x: Tensor) -> Tensor:
        """A view of padded x [n, c, h, w]: [n, c, kh, kw, rows, columns]."""
        a, k, h, w = x.stride()
        (sh, sw), (dh, dw) = self.stride, self.dilation
        steps = (a, k, h * dh, w * dw, h * sh, w * sw)
        return x.as_strided((*x.shape[:2], *self.kernel, *self.places), steps, x.storage_offset())

    def unfolded(self, x: Tensor) -> Tensor:
        """As torch's unfold, ten times as fast on a CPU: x [n, c, h, w] -> [n, c kh kw, T]; has no gradient."""
        return self.windows(self.padded(x.detach())).reshape(len(x), -1, self.count)

    def folded(self, windows: Tensor, height: int, width: int) -> Tensor:
        """As torch's fold, faster on a CPU: the sum of all `windows` where they lie, without the border.

        [n, c, kh, kw, rows, columns] -> [n, c, height, width].
        """
        (top, side), (sh, sw), (dh, dw) = self.padding, self.stride, self.dilation
        total = windows.new_zeros(*windows.shape[:2], height + 2 * top, width + 2 * side)
        high, wide = (s * (p - 1) + 1 for s, p in zip(self.stride, self.places, strict=True))
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                total[:, :, i * dh : i * dh + high : sh, j * dw : j * dw + wide : sw] += windows[:, :, i, j]
        return total[:, :, top : top + height, side : side + width]


def is_inner(below: Tensor, grid: Grid) -> bool:
    """Whether patches are copied channel by channel (the runs of memory are longer so) rather than row by row."""
    return below.shape[1] * grid.kernel[1] > grid.places[1]


def written(below: Tensor, g: Tensor, grid: Grid, out: Tensor) -> Iterator[slice]:
    """Write the gradients of single samples into out, and yield which ones have just been.

    Args:
        below: inputs [n, C, h, w].
        g: gradients in the outputs, [n, O, rows, columns].
        grid: of the layer.
        out: [n, O, D], a gradient laid out [O, kh, kw, C] if `is_inner`, else [O, C, kh, kw]; or [m, O, D], which the
            next m samples overwrite.
    """
    n, c = below.shape[:2]
    inner, deep = is_inner(below, grid), c * grid.kernel[0] * grid.kernel[1]
    step = fitting(below, grid, n)
    seen = grid.windows(grid.padded(below.contiguous(memory_format=torch.channels_last if inner else _ROWS)))
    if inner:
        seen = seen.permute(0, 4, 5, 2, 3, 1)
    memory = below.new_empty((step, *seen.shape[1:]))
    patches = memory.view(step, grid.count, deep) if inner else memory.view(step, deep, grid.count).transpose(1, 2)
    left = _places_last(g)
    for a in range(0, n, step):
        m = min(step, n - a)
        memory[:m].copy_(seen[a : a + m])
        torch.bmm(left[a : a + m], patches[:m], out=out[a : a + m] if len(out) == n else out[:m])
        yield slice(a, a + m)


def fitting(below: Tensor, grid: Grid, n: int) -> int:
    """How many samples' patches lie in the cache at once, at least one and at most n."""
    limit = _CACHE["cpu" if below.device.type == "cpu" else "cuda"]
    taps = grid.kernel[0] * grid.kernel[1]
    return max(1, min(n, limit // (grid.count * taps * below.shape[1] * below.element_size())))


def _places_last(g: Tensor) -> Tensor:
    """[m, O, rows, columns] -> [m, O, T], without a copy in either layout of images."""
    if g.is_contiguous():
        return g.flatten(2)
    return g.permute(0, 2, 3, 1).reshape(len(g), -1, g.shape[1]).transpose(1, 2)


def squares(below: Tensor, g: Tensor, grid: Grid) -> Tensor:
    """Squared norms [n] of the gradients of single samples, by the products of pairs of places."""
    n = len(below)
    pixels = grid.padded(below.contiguous(memory_format=torch.channels_last))
    high, wide = pixels.shape[2:]
    flat = pixels.permute(0, 2, 3, 1).reshape(n, high * wide, -1)
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
