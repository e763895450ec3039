"""Linear layers and activations of all models as stacked matrix products, derivatives written by hand."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from experiments.core.engine.clipped import clipping
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._common import (
    flattens_all,
    is_plain_linear,
    layers,
    output_gradient,
    sample_scale,
    tensor_names,
)
from experiments.core.engine.net import Net, Slot

_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid)


class Dense(Formulation):
    """[Flatten] Linear [activation] Linear ... as one product over all models for the first layer, bmm after.

    The models share the inputs, so the first layer of all of them is X [n, d] times one [d, B*h] matrix, and its
    gradient one [B*h, n] times [n, d] product.
    """

    name = "dense"

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._parts = [part for part in layers(net.module) or [] if not isinstance(part[1], nn.Flatten)]
        self._slots = {slot.name: slot for slot in net.params}
        self._lone = sum(isinstance(layer, nn.Linear) for _, layer in self._parts) == 1

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Sequentials of Linear, ReLU, Tanh, Sigmoid and a leading Flatten, with at least one Linear first."""
        parts = layers(net.module)
        if parts is None:
            return False
        kinds = [layer for _, layer in parts]
        if kinds and flattens_all(kinds[0]):
            kinds = kinds[1:]
        return (
            bool(kinds)
            and is_plain_linear(kinds[0])
            and all(is_plain_linear(k) or type(k) in _ACTIVATIONS for k in kinds)
        )

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`."""
        with torch.no_grad():
            tensors, flat = self.net.views(theta), x.reshape(len(x), -1)
            values = self._forward(tensors, flat)
            delta = output_gradient(self.net, values[-1], y, sample_scale(weight, len(x), theta))
            out = torch.empty(len(theta), self.net.p, dtype=theta.dtype, device=theta.device)
            for i, name, here in self._walk(tensors, values, delta):
                self._write(name, here, values[i - 1] if i else flat, out)
            return out

    def clipped(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
        """See `Formulation.clipped`. A sample's gradient in a matrix is an outer product of two vectors.

        So norms come from theirs, before any gradient, and the sums cost what gradients cost (Goodfellow 2015).
        """
        with torch.no_grad():
            tensors, flat = self.net.views(theta), x.reshape(len(x), -1)
            values = self._forward(tensors, flat)
            delta = output_gradient(self.net, values[-1], y, theta.new_ones(1, len(x)))
            steps = list(self._walk(tensors, values, delta))
            norms = self._squares(flat, values, steps).sqrt_()
            factor = clipping(norms, weight, clip).unsqueeze(-1)
            out = theta.new_empty(len(theta), self.net.p)
            for i, name, delta in steps:
                self._write(name, delta * factor, values[i - 1] if i else flat, out)
            return out, norms

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        with torch.no_grad():
            return self._forward(self.net.views(theta), x.reshape(len(x), -1))[-1]

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """Activations and their gradients, and a copy of the first layer and of the gradient."""
        widths = sum(layer.out_features for _, layer in self._parts if isinstance(layer, nn.Linear))
        return 8 * (4 * n * widths + 2 * self.net.p)

    def _forward(self, tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
        """Values [B, n, h] after each layer."""
        values: list[Tensor] = []
        for name, layer in self._parts:
            if isinstance(layer, nn.Linear):
                w, bias = (tensors.get(t) for t in tensor_names(name))
                assert w is not None
                first = _first_by_model if self._lone else _first
                values.append(first(x, w, bias) if not values else _next(values[-1], w, bias))
            elif isinstance(layer, nn.ReLU):
                values.append(torch.relu(values[-1]))
            else:
                values.append(torch.tanh(values[-1]) if isinstance(layer, nn.Tanh) else torch.sigmoid(values[-1]))
        return values

    def _walk(
        self, tensors: dict[str, Tensor], values: list[Tensor], delta: Tensor
    ) -> Iterator[tuple[int, str, Tensor]]:
        """Back through the layers: number, name and output gradient [B, n, h] of each Linear."""
        for i, (name, layer) in reversed(list(enumerate(self._parts))):
            if not isinstance(layer, nn.Linear):
                delta = _through(layer, values[i], delta)
                continue
            yield i, name, delta
            if i:
                delta = torch.bmm(delta, tensors[tensor_names(name)[0]])

    def _write(self, name: str, delta: Tensor, below: Tensor, out: Tensor) -> None:
        """Write a Linear's gradients into `out` [B, p]."""
        weight, bias = (self._slots.get(tensor) for tensor in tensor_names(name))
        if weight is not None:
            _columns(out, weight).copy_(_weight_gradient(delta, below))
        if bias is not None:
            _columns(out, bias).copy_(delta.sum(1))

    def _squares(self, x: Tensor, values: list[Tensor], steps: list[tuple[int, str, Tensor]]) -> Tensor:
        """Squared norms [B, n] of the samples' gradients, from what `_walk` found."""
        total = torch.zeros(steps[0][2].shape[:2], dtype=x.dtype, device=x.device)
        for i, name, delta in steps:
            weight, bias = (self._slots.get(tensor) for tensor in tensor_names(name))
            below = (values[i - 1] if i else x).square().sum(-1) if weight is not None else torch.zeros_like(total[:1])
            total += delta.square().sum(-1) * (below + (bias is not None))
        return total


def _columns(out: Tensor, slot: Slot) -> Tensor:
    """The view [B, *shape] of one tensor's columns of [B, p]."""
    return out[:, slot.start : slot.stop].view(len(out), *slot.shape)


def _first(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """X [n, d] through all models' first layers w [B, h, d] in one product; the result is laid out [n, B, h]."""
    b, h, d = w.shape
    flat = w.reshape(b * h, d).t()
    product = x @ flat if bias is None else torch.addmm(bias.reshape(-1), x, flat)
    return product.view(len(x), b, h).transpose(0, 1)


def _first_by_model(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """The same with the models innermost, [n, h, B]: softmax over few classes runs vectorised over models."""
    b, h, d = w.shape
    flat = w.transpose(0, 1).reshape(h * b, d).t()
    product = x @ flat if bias is None else torch.addmm(bias.t().reshape(-1), x, flat)
    return product.view(len(x), h, b).permute(2, 0, 1)


def _next(value: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    product = torch.bmm(value, w.transpose(1, 2))
    return product if bias is None else product.add_(bias.unsqueeze(1))


def _weight_gradient(delta: Tensor, below: Tensor) -> Tensor:
    """Delta [B, n, h], below [n, d] (shared) or [B, n, d] -> [B, h, d]."""
    if below.dim() == 3:
        return torch.bmm(delta.transpose(1, 2), below)
    b, n, h = delta.shape
    if delta.stride(0) == 1:
        return (delta.permute(1, 2, 0).reshape(n, h * b).t() @ below).view(h, b, -1).transpose(0, 1)
    return (delta.transpose(0, 1).reshape(n, b * h).t() @ below).view(b, h, -1)


def _through(layer: nn.Module, value: Tensor, delta: Tensor) -> Tensor:
    """Delta after an activation with result `value` -> delta before it."""
    if isinstance(layer, nn.ReLU):
        return torch.where(value > 0, delta, torch.zeros_like(delta))
    if isinstance(layer, nn.Tanh):
        return delta * (1 - value.square())
    return delta * value * (1 - value)
