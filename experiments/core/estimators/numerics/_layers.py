"""Inputs and output gradients of every Linear and Conv2d of any module: what GGN and EK-FAC are built from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from experiments.core.engine.calls import Step
from experiments.core.engine.net import Net, clone

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Pass(Step):
    """One layer in one forward pass, and its output (part of the graph)."""

    above: Tensor


class Traced:
    """A private copy of a net's module that writes down what goes through its layers.

    Raises:
        ValueError: a parameter lies in a layer that is neither Linear, ungrouped Conv2d nor an affine normalisation,
            or is shared between layers.
    """

    def __init__(self, net: Net) -> None:
        self.net, self._module = net, clone(net.module).eval()
        self._passes: list[Pass] = []
        missing = {slot.name for slot in net.params}
        for name, layer in self._module.named_modules():
            if getattr(layer, "inplace", False):
                layer.inplace = False  # type: ignore[assignment]
            of_layer = {f"{name}.{tensor}".lstrip(".") for tensor, _ in layer.named_parameters(recurse=False)}
            if of_layer & missing and known(layer):
                layer.register_forward_hook(self._hook(name))
                missing -= of_layer
        if missing:
            raise ValueError(f"parameter {min(missing)} lies in no Linear, ungrouped Conv2d or normalisation layer")

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                output.requires_grad_()
            self._passes.append(Pass(name, layer, inputs[0].detach(), output))
            return output

        return record

    def forward(self, theta: Tensor, x: Tensor) -> tuple[list[Pass], Tensor]:
        """The layers passed, in order, and the outputs [n, C] with their graph.

        Raises:
            ValueError: a layer was used more than once.
        """
        self._passes = []
        with torch.enable_grad():
            outputs = functional_call(self._module, self.net.views(theta.detach()), x)
        passes, self._passes = self._passes, []
        if len({step.name for step in passes}) < len(passes):
            raise ValueError("a layer with parameters is used more than once")
        return passes, outputs


def known(layer: nn.Module) -> bool:
    """Whether the gradient of this layer's parameters can be written down from its input and its output's gradient."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) is nn.Linear or isinstance(layer, NORMS)


def inputs_of(step: Step) -> Tensor:
    """What the weights of a Linear or Conv2d meet, place by place: [n, places, in]."""
    if isinstance(step.layer, nn.Conv2d):
        c = step.layer
        return functional.unfold(step.below, c.kernel_size, c.dilation, c.padding, c.stride).transpose(1, 2)  # type: ignore[arg-type]
    return step.below.reshape(len(step.below), -1, step.below.shape[-1])


def deltas_of(step: Step, delta: Tensor) -> Tensor:
    """The gradient in a Linear's or Conv2d's output, place by place: [n, places, out]."""
    if isinstance(step.layer, nn.Conv2d):
        return delta.flatten(2).transpose(1, 2)
    return delta.reshape(len(delta), -1, delta.shape[-1])


def norm_gradients(net: Net, theta: Tensor, step: Pass, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of each sample in a normalisation's weight and bias: [n, k] each."""
    views = net.views(theta)
    tensors = {t: views[f"{step.name}.{t}".lstrip(".")] for t, _ in step.layer.named_parameters()}
    tensors["weight"] = torch.ones_like(tensors["weight"])
    if "bias" in tensors:
        tensors["bias"] = torch.zeros_like(tensors["bias"])
    for name, value in step.layer.named_buffers():
        tensors[name] = views.get(f"{step.name}.{name}".lstrip("."), value)
    with torch.no_grad():
        plain = functional_call(step.layer, tensors, (step.below,)).detach()
    if isinstance(step.layer, nn.LayerNorm):
        shape = (len(delta), -1, step.layer.weight.numel())
        return (delta * plain).reshape(shape).sum(1), delta.reshape(shape).sum(1)
    return (delta * plain).flatten(2).sum(2), delta.flatten(2).sum(2)


def weighted_rows(traced: Traced, theta: Tensor, steps: list[Pass], deltas: tuple[Tensor, ...], out: Tensor) -> None:
    """Write the gradient of each sample in all parameters into out [n, p]."""
    slots = {slot.name: slot for slot in traced.net.params}
    for step, delta in zip(steps, deltas, strict=True):
        weight, bias = (slots.get(f"{step.name}.{t}".lstrip(".")) for t in ("weight", "bias"))
        if isinstance(step.layer, NORMS):
            parts = norm_gradients(traced.net, theta, step, delta)
        else:
            d = deltas_of(step, delta)
            parts = (torch.bmm(d.transpose(1, 2), inputs_of(step)).flatten(1), d.sum(1))
        for slot, part in zip((weight, bias), parts, strict=True):
            if slot is not None:
                out[:, slot.start : slot.stop] = part


def chunks(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of `size` of n rows."""
    for a in range(0, n, size):
        yield slice(a, min(n, a + size))
