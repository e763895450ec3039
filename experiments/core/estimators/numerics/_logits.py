"""The global model as tracing needs it: evaluation mode, a copy of its own, logits with a graph."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from experiments.core.engine.net import Net, clone
from experiments.core.errors import SpecError

_copies = threading.local()


def template(net: Net) -> nn.Module:
    """A copy of the net's module in evaluation mode, without values for its parameters and with nothing in place.

    Hooks may be put on it without touching what training uses. There is one for each module and thread, reused:
    copying a deep model takes as long as a backward for one input. So layers and constants of the net's module must
    not be exchanged once it is in use; the same holds for `Net.call`.
    """
    known = _copies.__dict__.setdefault("of", WeakKeyDictionary())
    if net.module not in known:
        known[net.module] = _copy(net.module)
    return known[net.module]


def _copy(module: nn.Module) -> nn.Module:
    memo: dict[int, object] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False) for p in module.parameters()
    }
    copied = clone(module, memo).eval()
    for part in copied.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
    return copied


def leaves(net: Net, theta: Tensor) -> list[Tensor]:
    """The parameters in theta [size], one tensor a slot, each a leaf that collects a gradient of its own."""
    return [theta[s.start : s.stop].detach().view(s.shape).requires_grad_() for s in net.params]


def logits(net: Net, module: nn.Module, theta: Tensor, x: Tensor, parameters: list[Tensor] | None = None) -> Tensor:
    """Outputs [n, C] of `module` with the flat state theta [size]; by `parameters`, if given, they have a graph.

    The module may change its inputs and buffers in place: it gets copies.

    Raises:
        SpecError: the model returns something else.
    """
    tensors = net.views(theta.detach())
    tensors.update({slot.name: tensors[slot.name].clone() for slot in net.buffers})
    if parameters is not None:
        tensors.update({slot.name: tensor for slot, tensor in zip(net.params, parameters, strict=True)})
    with torch.enable_grad():
        outputs = functional_call(module, tensors, (x.clone(),))
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != len(x):
        raise SpecError("tracing needs a model that returns one row of logits per input", "model", "use a classifier")
    return outputs
