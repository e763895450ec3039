"""Products of Hessians with many vectors at once; never a p x p matrix.

Two operators with one method, `apply`: V [p, C] -> H V [p, C].

- `FullHessian` differentiates forward over reverse, for any network.
- `TensorBlocks` keeps only the diagonal block of each parameter tensor (Xue et al. 2021, "Layer-wise Operation"). For
  networks that are piecewise linear in each single tensor (linear, convolution, ReLU, max-pooling) a block is exactly
  J^T S J, with J the Jacobian of the last layer's outputs and S the loss's Hessian in them: the second derivative of
  the outputs vanishes. J is never formed for dense layers. Other networks fall back to `GenericBlocks`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from experiments.core.engine.net import Net, Slot

_ELEMENTWISE = (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Identity, nn.Softplus)
_PIECEWISE_LINEAR = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.LeakyReLU, nn.Dropout)

_forward_mode = threading.Lock()  # PyTorch keeps one stack of forward-mode levels for all threads


class HessianOperator(Protocol):
    """The Hessian of a mean loss at one point, known by its products."""

    def apply(self, vectors: Tensor) -> Tensor:
        """H V: [p, C] -> [p, C]."""


def tensor_blocks(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> HessianOperator:
    """The block-per-tensor Hessian of the mean loss over x, y at `theta` [size], by the fastest exact way."""
    layers = _split(net.module)
    return GenericBlocks(net, theta, x, y) if layers is None else TensorBlocks(net, theta, x, y, *layers)


class FullHessian:
    """The whole Hessian, by forward-over-reverse differentiation, batched over vectors in blocks of `width`."""

    def __init__(self, net: Net, theta: Tensor, x: Tensor, y: Tensor, width: int = 64) -> None:
        self._w, self._width = theta[: net.p], width
        fixed = theta[net.p :]

        def mean_loss(w: Tensor) -> Tensor:
            return net.losses(net.call(torch.cat([w, fixed]), x), y).mean()

        self._gradient = grad(mean_loss)

    def apply(self, vectors: Tensor) -> Tensor:
        """H V: [p, C] -> [p, C]."""

        def product(v: Tensor) -> Tensor:
            return jvp(self._gradient, (self._w,), (v,))[1]

        with _forward_mode:
            return torch.cat([vmap(product)(part.T).T for part in vectors.split(self._width, 1)], 1)


class GenericBlocks:
    """Block-per-tensor Hessian of any network: one forward-over-reverse pass a tensor."""

    def __init__(self, net: Net, theta: Tensor, x: Tensor, y: Tensor) -> None:
        self._net, self._full = net, FullHessian(net, theta, x, y)

    def apply(self, vectors: Tensor) -> Tensor:
        """H V: [p, C] -> [p, C]."""
        result = torch.empty_like(vectors)
        for slot in self._net.params:
            rows = slice(slot.start, slot.stop)
            only = torch.zeros_like(vectors)
            only[rows] = vectors[rows]
            result[rows] = self._full.apply(only)[rows]
        return result


@dataclass
class _Layer:
    """One linear or convolution layer: where its tensors lie, and where in the network."""

    module: nn.Linear | nn.Conv2d
    weight: Slot
    bias: Slot | None
    inputs: Tensor = None  # type: ignore[assignment]
    outputs: Tensor = None  # type: ignore[assignment]


def _split(module: nn.Module) -> tuple[list[str], list[str]] | None:
    """(names of the children up to the last parametric layer, names of the elementwise tail), or None if not simple."""
    if not isinstance(module, nn.Sequential):
        return None
    names = list(module._modules)  # unlike named_children(), this keeps a layer that is used twice
    parametric = [i for i, m in enumerate(module) if isinstance(m, (nn.Linear, nn.Conv2d))]
    if not parametric or not isinstance(module[parametric[-1]], nn.Linear):
        return None
    body, tail = list(module)[: parametric[-1]], list(module)[parametric[-1] + 1 :]
    simple = all(isinstance(m, (*_PIECEWISE_LINEAR, nn.Linear)) or _plain_conv(m) for m in body)
    if not simple or not all(isinstance(m, _ELEMENTWISE) for m in tail) or any(isinstance(m, nn.Dropout) and m.p for m in body):
        return None
    return names[: parametric[-1] + 1], names[parametric[-1] + 1 :]


def _plain_conv(m: nn.Module) -> bool:
    return isinstance(m, nn.Conv2d) and m.groups == 1 and m.padding_mode == "zeros" and not isinstance(m.padding, str)


class TensorBlocks:
    """J^T S J / n for each parameter tensor of a piecewise-linear network (see the module's docstring)."""

    def __init__(self, net: Net, theta: Tensor, x: Tensor, y: Tensor, body: list[str], tail: list[str]) -> None:
        views = net.views(theta)
        self._layers = _forward(net, views, x, body)
        z = self._layers[-1].outputs
        self._curvature = _output_hessian(net, z.detach(), y, tail) / len(y)
        self._products = self._prepare(z)

    def _prepare(self, z: Tensor) -> list[tuple[Slot, Callable[[Tensor], Tensor]]]:
        """For every tensor, the map V [p_j, C] -> block times V."""
        n, c = z.shape
        outputs = [layer.outputs for layer in self._layers]
        unit = torch.eye(c, dtype=z.dtype, device=z.device)[:, None].expand(c, n, c)
        back = torch.autograd.grad(z, outputs, unit, is_grads_batched=True)
        found: list[tuple[Slot, Callable[[Tensor], Tensor]]] = []
        for layer, cotangent in zip(self._layers, back, strict=True):
            b = cotangent.transpose(0, 1)  # [n, c, out, ...]: gradient of each score in the layer's outputs
            if isinstance(layer.module, nn.Linear):
                found.append((layer.weight, self._dense(layer.inputs.detach(), b)))
            else:
                found.append((layer.weight, self._explicit(_conv_jacobian(layer, b))))
            if layer.bias is not None:
                found.append((layer.bias, self._explicit(b.flatten(3).sum(3) if b.dim() > 3 else b)))
        return found

    def _dense(self, a: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
        """Weights [out, in] of a linear layer with inputs a [n, in]: J v = b (V a)."""
        n, width = a.shape
        out = b.shape[2]

        def product(v: Tensor) -> Tensor:
            columns = v.shape[1]
            pushed = a @ v.reshape(out, width, columns).transpose(0, 1).reshape(width, out * columns)
            scores = self._curvature @ (b @ pushed.reshape(n, out, columns))
            pulled = (b.transpose(1, 2) @ scores).reshape(n, out * columns)
            return (a.T @ pulled).reshape(width, out, columns).transpose(0, 1).reshape(-1, columns)

        return product

    def _explicit(self, jacobian: Tensor) -> Callable[[Tensor], Tensor]:
        """A small tensor with its Jacobian [n, c, p_j] written out."""
        n, c, width = jacobian.shape
        flat, curved = jacobian.reshape(n * c, width), (self._curvature @ jacobian).reshape(n * c, width)
        if width <= c:
            block = flat.T @ curved
            return lambda v: block @ v
        return lambda v: flat.T @ (self._curvature @ (flat @ v).reshape(n, c, -1)).reshape(n * c, -1)

    def apply(self, vectors: Tensor) -> Tensor:
        """H V: [p, C] -> [p, C]."""
        result = torch.empty_like(vectors)
        for slot, product in self._products:
            result[slot.start : slot.stop] = product(vectors[slot.start : slot.stop])
        return result


def _output_hessian(net: Net, z: Tensor, y: Tensor, tail: list[str]) -> Tensor:
    """S: Hessian [n, C, C] of each sample's loss in the scores z [n, C], through the elementwise layers `tail`.

    With out = f(z): S = f' S_out f' + diag(f'' dloss/dout), where for cross-entropy S_out = diag(p) - p p^T.
    """
    if net.loss == "squared":
        first, second = lambda out: out - y, lambda out: torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    else:
        hot = F.one_hot(y, z.shape[1]).to(z.dtype)
        first = lambda out: out.softmax(1) - hot  # noqa: E731
        second = lambda out: torch.diag_embed(out.softmax(1)) - out.softmax(1)[:, :, None] * out.softmax(1)[:, None]  # noqa: E731
    if not tail:
        return second(z).expand(len(z), -1, -1)
    with torch.enable_grad():
        z = z.requires_grad_()
        out = z
        for name in tail:
            out = net.module.get_submodule(name)(out)
        (slope,) = torch.autograd.grad(out.sum(), z, create_graph=True)
        bend = torch.autograd.grad(slope.sum(), z, allow_unused=True)[0] if slope.requires_grad else None
    out, slope = out.detach(), slope.detach()
    curved = slope[:, :, None] * second(out) * slope[:, None]
    return curved if bend is None else curved + torch.diag_embed(bend * first(out))


def _forward(net: Net, views: dict[str, Tensor], x: Tensor, body: list[str]) -> list[_Layer]:
    """Run the network up to its last parametric layer, keeping every such layer's inputs and outputs."""
    slots = {s.name: s for s in net.params}
    layers: list[_Layer] = []
    h = x
    with torch.enable_grad():
        for name in body:
            module = net.module.get_submodule(name)
            if not isinstance(module, (nn.Linear, nn.Conv2d)):
                h = module(h)
                continue
            weight, bias = views[f"{name}.weight"], views.get(f"{name}.bias")
            if not layers:
                weight = weight.detach().requires_grad_()
            layer = _Layer(module, slots[f"{name}.weight"], slots.get(f"{name}.bias"), h)
            if isinstance(module, nn.Linear):
                h = F.linear(h, weight, bias)
            else:
                h = F.conv2d(h, weight, bias, module.stride, module.padding, module.dilation)
            layer.outputs = h
            layers.append(layer)
    return layers


def _conv_jacobian(layer: _Layer, b: Tensor) -> Tensor:
    """[n, c, out * in * k * k] Jacobian of the scores in a convolution's weights, from b [n, c, out, H, W]."""
    conv = layer.module
    assert isinstance(conv, nn.Conv2d)
    patches = F.unfold(layer.inputs.detach(), conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # type: ignore[arg-type]
    n, c, out = b.shape[:3]
    return (b.reshape(n, c * out, -1) @ patches.transpose(1, 2)).reshape(n, c, -1)
