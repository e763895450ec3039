"""Whether gradients of single samples, computed for several at once, are those of single backwards."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

from experiments.core.engine.layered import NotLayeredError, samples
from experiments.core.engine.net import Net, Slot
from experiments.core.engine.seeds import stream

ROWS = [0, 1, 0, 0]
"""Samples tried, in an order in which a layer that sorts or groups them shows."""
_NOISE = 0.1
_DOUBLE, _OWN = 1e-8, 1e-3


def single_gradient(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient [p] of the summed loss of x [n, ...] at theta [size], by plain autograd."""
    leaf = theta[: net.p].detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = net.losses(net.call(torch.cat([leaf, theta[net.p :]]), x), y).sum()
    return torch.autograd.grad(loss, leaf)[0]


def by_vmap(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Batch the gradient of one sample's loss with vmap, for any module that it can batch: [n, p]."""
    rest = theta[net.p :].detach()

    def loss(parameters: Tensor, sample: Tensor, target: Tensor) -> Tensor:
        outputs = net.call(torch.cat([parameters, rest]), sample.unsqueeze(0))
        return net.losses(outputs, target.unsqueeze(0)).squeeze(0)

    return vmap(grad(loss), in_dims=(None, 0, 0))(theta[: net.p].detach(), x, y)


def layers_agree(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> tuple[bool, bool]:
    """Whether `samples` gives what single backwards give, and whether that will do for other states of the model.

    Args:
        net: the model.
        theta: [size]; tried is a state near it, in which nothing is zero (a fresh head, an unused scale), in float64
            where the model can be computed so.
        x, y: two samples.
    """

    def rows(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, list[Slot]]:
        found, only_norms = (samples(net, theta, x, y, sums) for sums in (True, False))
        out = theta.new_zeros(len(x), net.p)
        for s, unit in enumerate(torch.eye(len(x), dtype=theta.dtype, device=theta.device)):
            found.add_to(out[s], unit)
        each = torch.zeros_like(out)
        found.each(each)
        expected = torch.linalg.vector_norm(out, dim=1)
        if not _close(each, out, theta.dtype):
            raise NotLayeredError
        for norms in (found.norms(theta), only_norms.norms(theta)):
            if not _close(norms, expected, theta.dtype):
                raise NotLayeredError
        return out, list(found.parts)

    return _agree(net, theta, x, y, rows)


def vmap_agrees(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> tuple[bool, bool]:
    """The same for `by_vmap`."""
    return _agree(net, theta, x, y, lambda theta, x, y: (by_vmap(net, theta, x, y), list(net.params)))


_Rows = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, list[Slot]]]


def _agree(net: Net, theta: Tensor, x: Tensor, y: Tensor, rows: _Rows) -> tuple[bool, bool]:
    near = _near(net, theta)
    try:
        return _compared(net, near.double(), _real(x), _real(y), rows)
    except NotLayeredError:
        return False, True
    except Exception:  # no float64 on the device, or something in the model that is not cast or asks for its own
        pass
    try:
        return _compared(net, near, x, y, rows)
    except NotLayeredError:
        return False, True
    except Exception:  # a module of anyone's; sample by sample shows what is wrong, if anything is
        return False, False


def _compared(net: Net, theta: Tensor, x: Tensor, y: Tensor, rows: _Rows) -> tuple[bool, bool]:
    """Whether all tensors agree, and whether each has a gradient that says so, or a neighbour in its layer has."""
    ours, slots = rows(theta, x[ROWS], y[ROWS])
    alone = torch.stack([single_gradient(net, theta, x[s : s + 1], y[s : s + 1]) for s in (0, 1)])[ROWS]
    if not bool(alone.isfinite().all()):
        return False, False
    limit = _DOUBLE if theta.dtype == torch.float64 else _OWN
    largest = float(torch.linalg.vector_norm(alone, dim=1).max())
    spoken, silent = set[str](), set[str]()
    for slot in net.params:
        mine, judged = ours[:, slot.start : slot.stop], alone[:, slot.start : slot.stop]
        size, error = (torch.linalg.vector_norm(t, dim=1) for t in (judged, mine - judged))
        layer = slot.name.rpartition(".")[0]
        if bool(((error <= limit * size) & (size > 0)).all()):
            spoken.add(layer)
        elif float(error.max()) > 1e-3 * limit * largest:
            return False, True
        elif slot in slots:  # zero but for rounding: that says nothing of the tensor
            silent.add(layer)
    return True, silent <= spoken


def _close(ours: Tensor, judged: Tensor, dtype: torch.dtype) -> bool:
    limit = _DOUBLE if dtype == torch.float64 else _OWN
    return torch.allclose(ours, judged, rtol=limit, atol=limit * float(judged.abs().max()))


def _near(net: Net, theta: Tensor) -> Tensor:
    """A state near theta [size], the parameters moved by named noise."""
    drawn = torch.from_numpy(stream(0, "per-sample trial").standard_normal(net.p, dtype="float32")).to(theta)
    near = theta.clone()
    for slot in net.params:
        own = near[slot.start : slot.stop]
        own += _NOISE * (own.square().mean().sqrt() + _NOISE) * drawn[slot.start : slot.stop]
    return near


def _real(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
