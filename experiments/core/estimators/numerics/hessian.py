"""Products of Hessians with many vectors at once; never a p x p matrix.

Two operators with one method, `apply`: V [p, C] -> H V [p, C].

- `FullHessian` differentiates forward over reverse, for any network.
- `TensorBlocks` keeps only the diagonal block of each parameter tensor (Xue et al. 2021, "Layer-wise Operation"). For
  networks that are piecewise linear in each single tensor (linear, convolution, ReLU, max-pooling) a block is exactly
  J^T S J, with J the Jacobian of the last layer's outputs and S the loss's Hessian in them: the second derivative of
  the outputs vanishes. J is never formed for dense layers (see score_jacobian.py). Other networks fall back to
  `GenericBlocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.func import grad

from experiments.core.engine.net import Net, Slot
from experiments.core.engine.objective import pushed
from experiments.core.estimators.numerics.score_jacobian import Step, backward, conv_jacobian, forward, handles

_ELEMENTWISE = (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Identity, nn.Softplus)


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
        return torch.cat([pushed(self._gradient, self._w, part).T for part in vectors.split(self._width, 1)], 1)


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


class Fisher:
    """The mean of outer products of gradients [N, p] (Eq. 14 of Xue et al. 2021), whole or in blocks."""

    def __init__(self, gradients: Tensor, blocks: Sequence[Slot] | None = None) -> None:
        self._gradients = gradients
        self._blocks = [slice(None)] if blocks is None else [slice(s.start, s.stop) for s in blocks]

    def apply(self, vectors: Tensor) -> Tensor:
        """F V: [p, C] -> [p, C]."""
        result = torch.empty_like(vectors)
        for rows in self._blocks:
            g = self._gradients[:, rows]
            result[rows] = g.T @ (g @ vectors[rows]) / len(g)
        return result


def _split(module: nn.Module) -> tuple[list[str], list[str]] | None:
    """(names of the children up to the last parametric layer, names of the elementwise tail), or None if not simple."""
    if not isinstance(module, nn.Sequential):
        return None
    names = list(module._modules)  # unlike named_children(), this keeps a layer that is used twice
    parametric = [i for i, m in enumerate(module) if isinstance(m, (nn.Linear, nn.Conv2d))]
    if not parametric or not isinstance(module[parametric[-1]], nn.Linear):
        return None
    body, tail = list(module)[: parametric[-1] + 1], list(module)[parametric[-1] + 1 :]
    if not all(handles(m) for m in body) or not all(isinstance(m, _ELEMENTWISE) for m in tail):
        return None
    return names[: parametric[-1] + 1], names[parametric[-1] + 1 :]


class TensorBlocks:
    """J^T S J / n for each parameter tensor of a piecewise-linear network (see the module's docstring)."""

    def __init__(self, net: Net, theta: Tensor, x: Tensor, y: Tensor, body: list[str], tail: list[str]) -> None:
        with torch.no_grad():
            views = net.views(theta)
            steps, z = forward(net, views, x, body)
            self._curvature = _output_hessian(net, z, y, tail) / len(y)
            self._products = self._prepare(net, views, steps)

    def _prepare(
        self, net: Net, views: dict[str, Tensor], steps: list[Step]
    ) -> list[tuple[Slot, Callable[[Tensor], Tensor]]]:
        """For every tensor, the map V [p_j, C] -> block times V."""
        slots = {s.name: s for s in net.params}
        products: list[tuple[Slot, Callable[[Tensor], Tensor]]] = []
        for step, b, positions in backward(views, steps):
            dense = isinstance(step.module, nn.Linear)
            weight, bias = slots.get(f"{step.name}.weight"), slots.get(f"{step.name}.bias")
            if weight is not None:
                product = self._dense(step.inputs, b) if dense else self._explicit(conv_jacobian(step, b, positions))
                products.append((weight, product))
            if bias is not None:
                products.append((bias, self._explicit(b if dense else b.sum(3))))
        return products

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
        if width <= 2 * c:
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
        hot = functional.one_hot(y, z.shape[1]).to(z.dtype)
        first = lambda out: out.softmax(1) - hot  # noqa: E731
        second = lambda out: torch.diag_embed(out.softmax(1)) - out.softmax(1)[:, :, None] * out.softmax(1)[:, None]  # noqa: E731
    if not tail:
        return second(z).expand(len(z), -1, -1)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        out = z
        for name in tail:
            out = net.module.get_submodule(name)(out)
        (slope,) = torch.autograd.grad(out.sum(), z, create_graph=True)
        bend = torch.autograd.grad(slope.sum(), z, allow_unused=True)[0] if slope.requires_grad else None
    out, slope = out.detach(), slope.detach()
    curved = slope[:, :, None] * second(out) * slope[:, None]
    return curved if bend is None else curved + torch.diag_embed(bend * first(out))
