"""Inner products of many clients' parameters with the gradients of many inputs, tensor by tensor, in bounded memory.

The gradient of input i in the weight of a Linear or Conv2d is a sum over places of outer products (output gradient) x
(input). It is never stored whole: a block of rows is made for all inputs, multiplied with the same block of all clients
while both lie in the cache, and discarded. Where a layer has one place only (a 1x1 map, a vector) the clients' rows
meet the inputs directly and no gradient is made at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.calls import Call, is_conv1d
from experiments.core.engine.net import Slot
from experiments.core.engine.sample_layers import gradient_added, gradient_of_scale
from experiments.core.estimators.numerics._layers import NORMS, deltas_of, inputs_of

_NARROW = 8
"""Up to this many places a copy in the order of the product pays."""
_BLOCK = {"cpu": 1 << 20, "cuda": 1 << 25}
"""Numbers in a block, gradients and clients together: 4 MB in a processor's cache, 128 MB on a GPU."""


class Clients:
    """theta_G [size] and theta_k [K, size] as K + 1 rows: theta_G first, then the differences theta_k - theta_G.

    The difference comes before every product: theta_k and theta_G agree in their leading digits. What a method
    returns is overwritten by the next call.
    """

    def __init__(self, theta: Tensor, locals: Tensor) -> None:
        self._theta, self._locals = theta, locals
        self._scratch: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._locals) + 1

    def rows(self, start: int, stop: int) -> Tensor:
        """Columns start to stop: [K + 1, stop - start]."""
        return self._filled(self._theta[start:stop], self._locals[:, start:stop])

    def taps(self, start: int, stop: int, kernel: tuple[int, int], used: tuple[slice, slice]) -> Tensor:
        """As `rows`, of those taps only of each two-dimensional kernel that lie in `used`."""
        of_global = self._theta[start:stop].view(-1, *kernel)[:, used[0], used[1]].contiguous()
        others = self._locals[:, start:stop].view(len(self._locals), -1, *kernel)[:, :, used[0], used[1]]
        return self._filled(of_global, others).flatten(1)

    def picked(self, slot: Slot, indices: Tensor) -> Tensor:
        """Some rows of a matrix, one after another: [K + 1, len(indices) * width]."""
        of_global = self._theta[slot.start : slot.stop].view(slot.shape)[indices]
        others = self._locals[:, slot.start : slot.stop].view(-1, *slot.shape)[:, indices]
        return self._filled(of_global, others).flatten(1)

    def _filled(self, of_global: Tensor, others: Tensor) -> Tensor:
        rows = self.scratch("rows", len(self), *of_global.shape)
        rows[0] = of_global
        torch.sub(others, of_global, out=rows[1:])
        return rows

    def scratch(self, use: str, *shape: int) -> Tensor:
        """Memory to write into, the same for every call with this `use`: fresh pages cost more than the arithmetic."""
        count = math.prod(shape)
        if use not in self._scratch or self._scratch[use].numel() < count:
            self._scratch[use] = self._theta.new_empty(count)
        return self._scratch[use][:count].view(shape)


def with_gradients(clients: Clients, slot: Slot, g: Tensor) -> Tensor:
    """Products with gradients written out: g [n, numel of the slot] -> [n, K + 1]."""
    products = g.new_zeros(len(g), len(clients), dtype=torch.float64)
    step = max(1, _block(g) // (len(g) + len(clients)))
    for a in range(0, g.shape[1], step):
        b = min(a + step, g.shape[1])
        products += g[:, a:b] @ clients.rows(slot.start + a, slot.start + b).T
    return products


def of_call(clients: Clients, slots: dict[str, Slot], call: Call, g: Tensor) -> dict[str, Tensor]:
    """Products of one call of a layer, tensor by tensor.

    Args:
        clients: the states.
        slots: the layer's own tensors by their name in the layer: weight, bias.
        call: with inputs [n, ...].
        g: gradient in the call's output, [n, ...].

    Returns:
        The name in the layer -> [n, K + 1] float64: theta_G first, then the differences of the clients.
    """
    products = {}
    if "bias" in slots or isinstance(call.layer, NORMS):
        added = gradient_added(call.layer, g)
    if "bias" in slots:
        products["bias"] = with_gradients(clients, slots["bias"], added)
    if "weight" in slots and isinstance(call.layer, NORMS):
        products["weight"] = with_gradients(clients, slots["weight"], gradient_of_scale(call, g, added))
    elif "weight" in slots:
        products["weight"] = _weight(clients, slots["weight"], call, g)
    return products


def _weight(clients: Clients, slot: Slot, call: Call, g: Tensor) -> Tensor:
    layer = call.layer
    if isinstance(layer, nn.Embedding):
        return _embedding(clients, slot, layer, call.below, g)
    if isinstance(layer, nn.Conv2d):
        above = deltas_of(call, g).transpose(1, 2)
        if layer.groups > 1:
            return with_gradients(clients, slot, _grouped(layer.groups, above, inputs_of(call).transpose(1, 2)))
        return _outer(clients, slot, above, *_patches(call))
    above, below = deltas_of(call, g).transpose(1, 2), inputs_of(call).transpose(1, 2)
    return _outer(clients, slot, below, above) if is_conv1d(layer) else _outer(clients, slot, above, below)


_Taps = tuple[tuple[int, int], tuple[slice, slice]]


def _patches(call: Call) -> tuple[Tensor, _Taps | None]:
    """What the weight of a convolution meets, [n, in * taps, places], and which taps these are (None: all).

    Taps that only ever meet padding are left out: the map below a 3x3 convolution is often 1x1 in small images, and
    eight taps of nine see zeros.
    """
    layer, below = call.layer, call.below
    assert isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
    size, places = below.shape[2:], call.shape[2:]
    used = [_used(layer, axis, size[axis], places[axis]) for axis in (0, 1)]
    kernel = tuple(k.stop - k.start for k in used)
    border = tuple(layer.padding[axis] - used[axis].start * layer.dilation[axis] for axis in (0, 1))
    fits = all(_places(layer, axis, size[axis], kernel[axis], border[axis]) == places[axis] for axis in (0, 1))
    taps = None if kernel == layer.kernel_size else ((layer.kernel_size[0], layer.kernel_size[1]), (used[0], used[1]))
    if fits and kernel == (1, 1) and border == (0, 0):
        return below[:, :, :: layer.stride[0], :: layer.stride[1]].flatten(2), taps
    if fits:
        return functional.unfold(below, kernel, layer.dilation, border, layer.stride), taps  # type: ignore[arg-type]
    return inputs_of(call).transpose(1, 2), None


def _used(layer: nn.Conv2d, axis: int, size: int, places: int) -> slice:
    """The taps along one axis that ever meet something else than padding."""
    starts = [o * layer.stride[axis] - int(layer.padding[axis]) for o in range(places)]
    taps = range(layer.kernel_size[axis])
    met = [t for t in taps if any(0 <= start + t * layer.dilation[axis] < size for start in starts)] or [0]
    return slice(met[0], met[-1] + 1)


def _places(layer: nn.Conv2d, axis: int, size: int, kernel: int, border: int) -> int:
    """How many places a kernel of this width takes; -1 where no such border exists."""
    if border < 0:
        return -1
    return (size + 2 * border - layer.dilation[axis] * (kernel - 1) - 1) // layer.stride[axis] + 1


def _grouped(groups: int, above: Tensor, below: Tensor) -> Tensor:
    """Gradients [n, numel] of a grouped convolution's weight, written out: they are small."""
    left, right = (t.unflatten(1, (groups, -1)).flatten(0, 1) for t in (above, below))
    return torch.bmm(left, right.transpose(1, 2)).reshape(len(above), -1)


def _outer(clients: Clients, slot: Slot, left: Tensor, right: Tensor, taps: _Taps | None = None) -> Tensor:
    """Products with the gradients sum_s left[:, :, s] right[:, :, s]^T: [n, l, s] and [n, r, s] -> [n, K + 1].

    The slot is a matrix [l, r]; with `taps` it is a stack of kernels of which only those taps are meant.
    """
    n, height, places = left.shape
    width, across = (slot.stop - slot.start) // height, right.shape[1]
    products = left.new_zeros(n, len(clients), dtype=torch.float64)
    direct = places == 1
    met = right[:, :, 0].T.contiguous() if direct else right.transpose(1, 2)
    if places <= _NARROW:
        met = met.contiguous()
    step = max(1, _block(left) // (across * (len(clients) + (0 if direct else n))))
    for a in range(0, height, step):
        b = min(a + step, height)
        columns = slot.start + a * width, slot.start + b * width
        rows = clients.rows(*columns) if taps is None else clients.taps(*columns, *taps)
        if direct:
            reached = torch.mm(rows.view(-1, across), met, out=clients.scratch("reached", len(clients) * (b - a), n))
            products += torch.einsum("kln,nl->nk", reached.view(len(clients), b - a, n), left[:, a:b, 0])
        else:
            g = torch.bmm(left[:, a:b], met, out=clients.scratch("gradients", n, b - a, across))
            products += g.flatten(1) @ rows.T
    return products


def _embedding(clients: Clients, slot: Slot, layer: nn.Embedding, ids: Tensor, g: Tensor) -> Tensor:
    products = []
    for sample_ids, gradient in zip(ids.flatten(1), g.reshape(len(g), -1, g.shape[-1]), strict=True):
        used, row = sample_ids.unique(return_inverse=True)
        summed = torch.zeros(len(used), g.shape[-1], dtype=g.dtype, device=g.device).index_add_(0, row, gradient)
        if layer.padding_idx is not None:
            summed[used == layer.padding_idx] = 0
        products.append(clients.picked(slot, used) @ summed.flatten())
    return torch.stack(products).double()


def _block(like: Tensor) -> int:
    return _BLOCK["cpu" if like.device.type == "cpu" else "cuda"]
