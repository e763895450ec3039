"""Gradients of each sample's own loss: one [n, p] matrix for one model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.core.engine.formulations._common import (
    ELEMENTWISE,
    POOLS,
    flattens_all,
    is_plain_conv,
    is_plain_linear,
    layers,
    tensor_names,
)
from experiments.core.engine.formulations.native import Native
from experiments.core.engine.layered import NotLayeredError, samples
from experiments.core.engine.net import Net
from experiments.core.engine.patches import Grid
from experiments.core.engine.sample_plan import plan_of
from experiments.core.engine.sample_trial import by_vmap, single_gradient

_Seen = tuple[str, nn.Module, Tensor, Tensor]


def per_sample_gradients(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each sample's loss, with dropout off and BatchNorm on its running statistics.

    Takes the fastest way that is exact here: the native kernel, else outer products of layer inputs and output
    gradients (one backward for all samples), else what `by_parts` finds.

    Args:
        net: the model.
        theta: [size] state.
        x: [n, ...] inputs.
        y: [n] labels, or [n, C] targets for the squared loss.

    Returns:
        [n, p]; the mean over rows is the gradient of the mean loss.

    Raises:
        IndexError: on a label outside the outputs.
    """
    if Native.supports(net, theta.device, theta.dtype) and len(x):
        native = Native(net)
        if native.plan.fits(x):
            return native.per_sample(theta, x, y)
    return by_layers(net, theta, x, y) if is_layered(net) else by_parts(net, theta, x, y)


def is_layered(net: Net) -> bool:
    """Whether the net is a Sequential whose only layers with parameters are Linear on vectors and ungrouped Conv2d."""
    parts = [layer for _, layer in layers(net.module) or []]
    known = all(
        is_plain_linear(k) or is_plain_conv(k) or flattens_all(k) or type(k) in ELEMENTWISE + POOLS for k in parts
    )
    convs = [i for i, k in enumerate(parts) if isinstance(k, nn.Conv2d)]
    flats = [i for i, k in enumerate(parts) if isinstance(k, nn.Flatten)]
    linears = [i for i, k in enumerate(parts) if isinstance(k, nn.Linear)]
    in_order = not convs or not linears or any(convs[-1] < f < linears[0] for f in flats)
    return bool(parts) and known and in_order


def by_layers(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """One forward and backward; then a layer's gradient is (output gradient) x (input), sample by sample."""
    seen: list[_Seen] = []
    with torch.enable_grad():
        value = _forward(net, theta.detach(), x, seen)
        deltas = torch.autograd.grad(net.losses(value, y).sum(), [entry[3] for entry in seen])
    out = theta.new_empty(len(x), net.p)
    slots = {slot.name: slot for slot in net.params}
    for (name, layer, below, _), delta in zip(seen, deltas, strict=True):
        weight, bias = (slots.get(tensor) for tensor in tensor_names(name))
        if weight is not None:
            _outer(layer, below, delta, out[:, weight.start : weight.stop].view(len(x), weight.shape[0], -1))
        if bias is not None:
            out[:, bias.start : bias.stop] = delta.sum((2, 3)) if isinstance(layer, nn.Conv2d) else delta
    return out


def _outer(layer: nn.Module, below: Tensor, delta: Tensor, out: Tensor) -> None:
    """Write the gradients of a layer's weights, from its inputs and its outputs' gradients, into out [n, out, in]."""
    if isinstance(layer, nn.Conv2d):
        patches = Grid.of(layer, (delta.shape[2], delta.shape[3])).unfolded(below)
        out.copy_(torch.bmm(delta.flatten(2), patches.transpose(1, 2)))
    else:
        torch.mul(delta.unsqueeze(2), below.unsqueeze(1), out=out)


def _forward(net: Net, theta: Tensor, x: Tensor, seen: list[_Seen]) -> Tensor:
    """The outputs; `seen` collects (name, layer, input, output) of the layers with parameters."""
    tensors, value = net.views(theta), x
    for name, layer in layers(net.module) or []:
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            # Elementwise layers may work in place, which would overwrite a recorded output.
            value = layer(value.clone() if getattr(layer, "inplace", False) else value)
            continue
        weight, bias = (tensors.get(t) for t in tensor_names(name))
        assert weight is not None
        below = value
        if isinstance(layer, nn.Linear):
            if value.dim() != 2:
                raise ValueError(f"a Linear layer on values of shape {tuple(value.shape)}; only vectors are known here")
            value = functional.linear(value, weight, bias)
        else:
            value = functional.conv2d(value, weight, bias, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
        if not value.requires_grad:
            value.requires_grad_(True)
        seen.append((name, layer, below.detach(), value))
    return value


def by_parts(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The way that is right for this model (see `sample_plan`): by its layers' calls, vmap, or a loop."""
    theta = theta.detach()
    plan, out = plan_of(net, theta.unsqueeze(0), x, y), theta.new_zeros(len(x), net.p)
    if plan.way == "vmapped":
        return by_vmap(net, theta, x, y)
    for rows in plan.chunks(len(x)):
        try:
            if plan.way == "layered":
                samples(net, theta, plan.laid_out(x[rows]), y[rows]).each(out[rows])
                continue
        except NotLayeredError:  # a module may take another path for other samples
            pass
        for s in range(rows.start, rows.stop):
            out[s] = single_gradient(net, theta, x[s : s + 1], y[s : s + 1])
    return out
