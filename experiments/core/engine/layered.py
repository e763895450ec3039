"""Gradients of single samples of one model by one forward and one backward for all of them.

In evaluation mode samples do not touch one another, so one backward of the sum of their losses gives every layer's
output gradients of each of them. The sum of clipped gradients comes from these without a second backward (Bu et al.
2023, book-keeping).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from experiments.core.engine.calls import recording
from experiments.core.engine.net import Net, Slot, private
from experiments.core.engine.sample_layers import is_known, parts_of
from experiments.core.engine.sample_parts import Part


class NotLayeredError(Exception):
    """The model's gradients cannot be told apart by layers."""


@dataclass(frozen=True)
class Samples:
    """Gradients of n samples, tensor by tensor; tensors that took no part are left out.

    `nbytes`: of the inputs of layers, the gradients in their outputs, and gradients written out.
    """

    parts: dict[Slot, Part]
    n: int
    nbytes: int

    def norms(self, like: Tensor) -> Tensor:
        """Norm of each sample's gradient in all parameters, [n]."""
        total = like.new_zeros(self.n)
        for part in self.parts.values():
            total += part.squares
        return total.sqrt_()

    def each(self, out: Tensor) -> None:
        """Write the gradients into out [n, p], which holds zeros."""
        for slot, part in self.parts.items():
            out[:, slot.start : slot.stop] = part.each()

    def add_to(self, out: Tensor, factor: Tensor) -> None:
        """Add sum_s factor_s g_s to out [p]."""
        for slot, part in self.parts.items():
            out[slot.start : slot.stop].view(slot.shape).add_(part.total(factor).view(slot.shape))


def samples(net: Net, theta: Tensor, x: Tensor, y: Tensor, sums: bool = True) -> Samples:
    """The gradients of x [n, ...] at theta [size]; without `sums` for their norms alone.

    Raises:
        NotLayeredError: a parameter was used otherwise than by one call of a layer that is known.
    """
    module = private(net.module, _prepared)
    leaves = {s.name: theta[s.start : s.stop].view(s.shape).detach().requires_grad_() for s in net.params}
    tensors = net.views(theta.detach())
    tensors.update({s.name: tensors[s.name].clone() for s in net.buffers}, **leaves)
    with torch.enable_grad(), recording(module, len(x), is_known) as calls:
        loss = net.losses(functional_call(module, tensors, (x,)), y).sum()
    own = _own(module, net)
    met = {slot for call in calls for slot in own[call.name].values()}
    once = sum(len(own[call.name]) for call in calls) == len(met)
    if not once or not all(len(call.below) == call.shape[0] == len(x) for call in calls):
        raise NotLayeredError
    loose = [leaves[slot.name] for slot in net.params if slot not in met]
    wanted = [call.edge for call in calls]
    gradients = torch.autograd.grad(loss, [*wanted, *loose], allow_unused=True)  # type: ignore[arg-type]
    if any(g is not None for g in gradients[len(calls) :]):
        raise NotLayeredError
    parts: dict[Slot, Part] = {}
    with torch.no_grad():
        for call, g in zip(calls, gradients, strict=False):
            if g is not None and own[call.name]:
                found = parts_of(call, set(own[call.name]), g, sums)
                parts.update({own[call.name][tensor]: part for tensor, part in found.items()})
    return Samples(parts, len(x), sum(c.nbytes for c in calls) + sum(part.nbytes for part in parts.values()))


def _own(module: nn.Module, net: Net) -> dict[str, dict[str, Slot]]:
    """Of each module that `is_known`: its own trained tensors, by their names in it."""
    names = {id(tensor): name for name, tensor in module.named_parameters()}
    slots = {slot.name: slot for slot in net.params}
    return {
        name: {t: slots[names[id(p)]] for t, p in part.named_parameters(recurse=False) if names[id(p)] in slots}
        for name, part in module.named_modules()
        if is_known(part)
    }


def _prepared(module: nn.Module) -> nn.Module:
    """In evaluation mode, and with nothing done in place: a recorded output must stay as it was."""
    for part in module.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
    return module.eval()
