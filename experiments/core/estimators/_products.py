"""Inner products of many clients' parameters with the gradients of many inputs, tensor by tensor, in bounded memory.

The gradient of input i in the weight of a Linear or Conv2d is a sum over places of outer products (output gradient) x
(input). It is never held whole: a block of rows is made for all inputs, multiplied with the same block of all clients
while both lie in the cache, and forgotten. Where a layer has one place only (a 1x1 map, a vector) the clients' rows
meet the inputs directly and no gradient is made at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.net import Slot
from experiments.core.estimators._calls import Call, is_conv1d
from experiments.core.estimators._layers import NORMS, deltas_of, inputs_of

_BLOCK = {"cpu": 1 << 19, "cuda": 1 << 25}
"""Numbers in a block, gradients and clients together: 2 MB in a processor's cache, 128 MB on a GPU."""


class Clients:
    """theta_G [size] and theta_k [K, size] as K + 1 rows: theta_G first, then the differences theta_k - theta_G.

    The difference comes before every product: theta_k and theta_G agree in their leading digits. What a method
    returns is overwritten by the next call.
    """

    def __init__(self, theta: Tensor, locals: Tensor) -> None:
        self._theta, self._locals = theta, locals
        self._scratch = theta.new_empty(0)

    def __len__(self) -> int:
        return len(self._locals) + 1

    def rows(self, start: int, stop: int) -> Tensor:
        """Columns start to stop: [K + 1, stop - start]."""
        return self._filled(self._theta[start:stop], self._locals[:, start:stop])

    def taps(self, start: int, stop: int, kernel: tuple[int, int], kept: tuple[slice, slice]) -> Tensor:
        """As `rows`, of those taps only of each two-dimensional kernel that lie in `kept`."""
        own = self._theta[start:stop].view(-1, *kernel)[:, kept[0], kept[1]].contiguous()
        others = self._locals[:, start:stop].view(len(self._locals), -1, *kernel)[:, :, kept[0], kept[1]]
        return self._filled(own, others).flatten(1)

    def picked(self, slot: Slot, indices: Tensor) -> Tensor:
        """Some rows of a matrix, one after another: [K + 1, len(indices) * width]."""
        own = self._theta[slot.start : slot.stop].view(slot.shape)[indices]
        others = self._locals[:, slot.start : slot.stop].view(-1, *slot.shape)[:, indices]
        return self._filled(own, others).flatten(1)

    def _filled(self, own: Tensor, others: Tensor) -> Tensor:
        count = len(self) * own.numel()
        if self._scratch.numel() < count:
            self._scratch = own.new_empty(count)
        rows = self._scratch[:count].view(len(self), *own.shape)
        rows[0] = own
        torch.sub(others, own, out=rows[1:])
        return rows


def with_gradients(clients: Clients, slot: Slot, g: Tensor) -> Tensor:
    """Products with gradients written out: g [n, numel of the slot] -> [n, K + 1]."""
    found = g.new_zeros(len(g), len(clients), dtype=torch.float64)
    step = max(1, _block(g) // (len(g) + len(clients)))
    for a in range(0, g.shape[1], step):
        b = min(a + step, g.shape[1])
        found += g[:, a:b] @ clients.rows(slot.start + a, slot.start + b).T
    return found


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
    found = {}
    if "weight" in slots:
        found["weight"] = _weight(clients, slots["weight"], call, g)
    if "bias" in slots:
        found["bias"] = with_gradients(clients, slots["bias"], _bias(call.layer, g))
    return found


def _bias(layer: nn.Module, g: Tensor) -> Tensor:
    """The gradient [n, width] in what is added to a layer's output, from the gradient in that output."""
    if isinstance(layer, nn.LayerNorm):
        return g.reshape(len(g), -1, layer.weight.numel()).sum(1)
    if isinstance(layer, (nn.Conv2d, *NORMS)):
        return g.reshape(len(g), g.shape[1], -1).sum(2)
    return g.reshape(len(g), -1, g.shape[-1]).sum(1)


def _weight(clients: Clients, slot: Slot, call: Call, g: Tensor) -> Tensor:
    layer = call.layer
    if isinstance(layer, nn.Embedding):
        return _embedding(clients, slot, layer, call.below, g)
    if isinstance(layer, NORMS):
        return with_gradients(clients, slot, _bias(layer, g * _standardised(call)))
    above, below = deltas_of(call, g).transpose(1, 2), inputs_of(call).transpose(1, 2)
    if is_conv1d(layer):
        return _outer(clients, slot, below, above)
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1:
            return with_gradients(clients, slot, _grouped(layer.groups, above, below))
        kernel = (layer.kernel_size[0], layer.kernel_size[1])
        kept = _used(layer, call.below.shape[2:], call.above.shape[2:])
        if kept is not None:
            below = below.unflatten(1, (-1, *kernel))[:, :, kept[0], kept[1]].flatten(1, 3)
            return _outer(clients, slot, above, below, (kernel, kept))
    return _outer(clients, slot, above, below)


def _grouped(groups: int, above: Tensor, below: Tensor) -> Tensor:
    """Gradients [n, numel] of a grouped convolution's weight, written out: they are small."""
    left, right = (t.unflatten(1, (groups, -1)).flatten(0, 1) for t in (above, below))
    return torch.bmm(left, right.transpose(1, 2)).reshape(len(above), -1)


def _used(layer: nn.Conv2d, size: torch.Size, places: torch.Size) -> tuple[slice, slice] | None:
    """The taps of a kernel that ever meet something else than padding; None: all.

    The map below a 3x3 convolution is often 1x1 in small images: eight taps of nine see zeros.
    """
    kept = []
    for axis in (0, 1):
        starts = [o * layer.stride[axis] - int(layer.padding[axis]) for o in range(places[axis])]
        met = [
            tap
            for tap in range(layer.kernel_size[axis])
            if any(0 <= start + tap * layer.dilation[axis] < size[axis] for start in starts)
        ] or [0]
        kept.append(slice(met[0], met[-1] + 1))
    return None if all(k == slice(0, w) for k, w in zip(kept, layer.kernel_size, strict=True)) else (kept[0], kept[1])


_Taps = tuple[tuple[int, int], tuple[slice, slice]]


def _outer(clients: Clients, slot: Slot, left: Tensor, right: Tensor, taps: _Taps | None = None) -> Tensor:
    """Products with the gradients sum_s left[:, :, s] right[:, :, s]^T: [n, l, s] and [n, r, s] -> [n, K + 1].

    The slot is a matrix [l, r]; with `taps` it is a stack of kernels of which only those taps are meant.
    """
    n, height, places = left.shape
    width, across = (slot.stop - slot.start) // height, right.shape[1]
    found = left.new_zeros(n, len(clients), dtype=torch.float64)
    direct = places == 1
    step = max(1, _block(left) // (across * (len(clients) + (0 if direct else n))))
    for a in range(0, height, step):
        b = min(a + step, height)
        columns = slot.start + a * width, slot.start + b * width
        rows = clients.rows(*columns) if taps is None else clients.taps(*columns, *taps)
        if direct:
            reached = (rows.view(-1, across) @ right[:, :, 0].T).view(len(clients), b - a, n)
            found += torch.einsum("kln,nl->nk", reached, left[:, a:b, 0])
        else:
            found += torch.bmm(left[:, a:b], right.transpose(1, 2)).flatten(1) @ rows.T
    return found


def _embedding(clients: Clients, slot: Slot, layer: nn.Embedding, ids: Tensor, g: Tensor) -> Tensor:
    found = []
    for own, gradient in zip(ids.flatten(1), g.reshape(len(g), -1, g.shape[-1]), strict=True):
        used, place = own.unique(return_inverse=True)
        summed = torch.zeros(len(used), g.shape[-1], dtype=g.dtype, device=g.device).index_add_(0, place, gradient)
        if layer.padding_idx is not None:
            summed[used == layer.padding_idx] = 0
        found.append(clients.picked(slot, used) @ summed.flatten())
    return torch.stack(found).double()


def _standardised(call: Call) -> Tensor:
    """A normalisation's output before its own weight and bias."""
    layer, below = call.layer, call.below
    if isinstance(layer, nn.LayerNorm):
        return functional.layer_norm(below, layer.normalized_shape, None, None, layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return functional.group_norm(below, layer.num_groups, None, None, layer.eps)
    assert call.statistics is not None and isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return functional.batch_norm(below, *call.statistics, eps=layer.eps)


def _block(like: Tensor) -> int:
    return _BLOCK["cpu" if like.device.type == "cpu" else "cuda"]
