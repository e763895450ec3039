"""PLIS of many samples at once, layer by layer: one forward and two backwards for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from experiments.core.engine.formulations._common import is_changed
from experiments.core.engine.net import Net, clone
from experiments.core.estimators.numerics._plis_norms import BatchNorm, GroupNorm, LayerNorm
from experiments.core.estimators.numerics._plis_operation import Operation, call
from experiments.core.estimators.numerics._plis_products import convolution, linear

_HELD = 4  # times the activations of a forward pass


class Unfit(Exception):  # noqa: N818
    """The model has parameters that do not meet the inputs in layers known here, each called once."""


class Layered:
    """PLIS of a net whose trained parameters all lie in layers known here.

    Inputs do not touch one another in evaluation mode, so the gradients of the sum of their squared gradient norms are
    those of each. A layer's share of the norm needs its inputs and its output's gradient only.

    Args:
        net: the model.

    Raises:
        Unfit: a trained parameter lies elsewhere, or in two layers.
    """

    def __init__(self, net: Net) -> None:
        self.net, self._module = net, clone(net.module).eval().requires_grad_(False)
        self._met, self._layers, self._kept = list[str](), set[str](), 0
        names = [name for name, _ in self._module.named_parameters(remove_duplicate=False)]
        if names != [name for name, _ in self._module.named_parameters()]:
            raise Unfit("layers share parameters")
        trained = {slot.name for slot in net.params}
        for name, part in self._module.named_modules():
            trained -= self._taken(name, part, trained)
        if trained:
            raise Unfit(f"parameter {min(trained)} lies in no layer known here")

    def _taken(self, name: str, part: nn.Module, trained: set[str]) -> set[str]:
        """The names of a layer's own parameters, if it is known here and some are trained; it is `_call`ed from now."""
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
        own = {tensor: f"{name}.{tensor}".lstrip(".") for tensor, _ in part.named_parameters(recurse=False)}
        if trained.isdisjoint(own.values()) or is_changed(part) or kind_of(part) is None:
            return set()
        weight, bias = (own.get(tensor) in trained for tensor in ("weight", "bias"))
        part.forward = partial(self._call, name, part, (weight, bias))  # type: ignore[method-assign]
        self._layers.add(name)
        return set(own.values())

    def gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """d/dx of ||grad_theta loss(x, y)||^2: x [n, ...] -> [n, ...].

        Raises:
            Unfit: a layer is not called exactly once, with all samples.
            RuntimeError: of autograd, where the module changes in place what a layer was given.
        """
        self._met, self._x = [], x.detach().requires_grad_()
        with torch.enable_grad():
            outputs = functional_call(self._module, self.net.views(theta.detach()), (self._x,))
            loss = self.net.losses(outputs, y).sum()
            if sorted(self._met) != sorted(self._layers):
                raise Unfit("a layer is not called once")
            first = torch.autograd.grad(loss, self._x, create_graph=True)[0]
        return torch.autograd.grad(first, self._x, torch.zeros_like(first))[0].mul_(2)

    def bytes(self, theta: Tensor, x: Tensor) -> int:
        """About the memory that one of the samples x [n, ...] needs at most.

        Derivatives and patches live beside activations; and so do the gradients in convolutions, all at once.
        """
        held = [0]

        def keep(tensor: Tensor) -> Tensor:
            held.append(_HELD * tensor.nbytes)
            return tensor

        self._met, self._x, self._kept = [], x[:1].detach().requires_grad_(), 0
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            functional_call(self._module, self.net.views(theta.detach()), (self._x,))
        return sum(held) + self._kept * theta.element_size()

    def _call(self, name: str, part: nn.Module, trained: tuple[bool, bool], a: Tensor) -> Tensor:
        kind = kind_of(part)
        if kind is None or len(a) != len(self._x):
            raise Unfit(f"layer {name} is called with {len(a)} rows for {len(self._x)} inputs")
        self._met.append(name)
        lowest = a is self._x or a._base is self._x
        operation = kind(part, a)(part, trained, lowest)
        y = call(operation, a)
        self._kept += operation.kept(y)
        return y


def kind_of(part: nn.Module) -> Callable[[nn.Module, Tensor], type[Operation]] | None:
    """What picks the operation of a layer for its inputs; None for a layer that is not known here."""
    if isinstance(part, _BATCH_NORMS):
        known = type(part) in _BATCH_NORMS and part.running_mean is not None and part.weight is not None
        return (lambda part, a: BatchNorm) if known and not part.training else None
    if isinstance(part, nn.Conv2d) and (part.padding_mode != "zeros" or isinstance(part.padding, str)):
        return None
    return _KINDS.get(type(part))


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_KINDS: dict[type[nn.Module], Callable[..., type[Operation]]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.GroupNorm: lambda part, a: GroupNorm,
    nn.LayerNorm: lambda part, a: LayerNorm,
}
