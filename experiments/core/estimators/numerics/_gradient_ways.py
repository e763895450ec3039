"""Products of clients with the gradients of single logits, two ways: by plain autograd, and for many inputs at once.

In evaluation mode inputs do not touch one another, so one backward of the sum of their logits gives every layer's
output gradients of each of them, and `_products` does the rest. `_tracing` finds out for which tensors that is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import GradientEdge, saved_tensors_hooks
from torch.func import functional_call

from experiments.core.engine.calls import Call, is_recorded
from experiments.core.engine.net import Net
from experiments.core.estimators.numerics._calls import is_traced, positive, recording
from experiments.core.estimators.numerics._logits import leaves, logits, template
from experiments.core.estimators.numerics._products import Clients, of_call, with_gradients


@dataclass(frozen=True)
class Products:
    """outputs [n, C]; target [n]; values [n, P, K + 1] float64, theta_G first, then the differences of the clients."""

    outputs: Tensor
    target: Tensor
    values: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Products]) -> Products:
        """Those of all inputs, one part after another."""
        outputs, target, values = (torch.cat([getattr(p, f) for p in parts]) for f in ("outputs", "target", "values"))
        return cls(outputs, target, values)


class Ways:
    """Products of one global model and its clients.

    Args:
        net: the model.
        theta: [size], the global state.
        locals: [K, size], the clients' states.
        active: only active neurons of the traced layers take part.

    Attributes:
        order: the names of all parameter tensors, as in Net.params.
        names: the same as a set.
        layers: of each module that holds parameters itself, their names.
    """

    def __init__(self, net: Net, theta: Tensor, locals: Tensor, active: bool = False) -> None:
        self._net, self._theta, self._active = net, theta.detach(), active
        self._clients, self._module = Clients(self._theta, locals.detach()), template(net)
        if any(getattr(part, "max_norm", None) is not None for part in self._module.modules()):
            self._theta = self._theta.clone()  # such an embedding writes into its weight
        names = {id(tensor): name for name, tensor in self._module.named_parameters()}
        slots = {slot.name: slot for slot in net.params}
        self._own = {
            name: {t: slots[names[id(tensor)]] for t, tensor in part.named_parameters(recurse=False)}
            for name, part in self._module.named_modules()
        }
        self._place = {slot.name: j for j, slot in enumerate(net.params)}
        self.order = tuple(self._place)
        self.names = frozenset(self.order)
        self.layers = {
            name: frozenset(s.name for s in slots_of_layer.values())
            for name, slots_of_layer in self._own.items()
            if slots_of_layer
        }

    def together(self, x: Tensor, target: Tensor | None, trusted: Iterable[str]) -> tuple[Products, frozenset[str]]:
        """Products of all inputs x [n, ...] by one backward, and the names of the tensors that they cover.

        These are the `trusted` ones whose layers were all called with n inputs, and the ones that took no part at all.
        """
        n, parameters = len(x), leaves(self._net, self._theta)
        with recording(self._module, n, self._active) as calls:
            outputs, target, logit = self._logit(x, target, parameters)
        met = {name for call in calls for name in self.layers[call.name]}
        odd = {name for c in calls if not len(c.below) == c.shape[0] == n for name in self.layers[c.name]}
        loose = sorted(self.names - met)
        edges = [call.edge for call in calls]
        gradients = _gradients(logit, [*edges, *(parameters[self._place[name]] for name in loose)])
        unused = {name for name, g in zip(loose, gradients[len(calls) :], strict=True) if g is None}
        done, values = (met - odd) & frozenset(trusted), self._zeros(n)
        for call, g in zip(calls, gradients[: len(calls)], strict=True):
            slots = {t: s for t, s in self._own[call.name].items() if s.name in done}
            if g is None or not slots:
                continue
            for tensor, value in of_call(self._clients, slots, call, self._mask(call, g)).items():
                values[:, self._place[slots[tensor].name]] += value
        return Products(outputs, target, values), frozenset(done | unused)

    def alone(self, x: Tensor, target: Tensor | None, names: frozenset[str]) -> Products:
        """Products of the tensors `names`, by a backward in the parameters for each input of x [n, ...]."""
        each = [self._one(x[i : i + 1], None if target is None else target[i : i + 1], names) for i in range(len(x))]
        return Products.joined(each)

    def _one(self, x: Tensor, target: Tensor | None, names: frozenset[str]) -> Products:
        parameters = leaves(self._net, self._theta)
        with recording(self._module, 1, self._active, lambda part: self._active and _is_layer(part)) as calls:
            outputs, target, logit = self._logit(x, target, parameters)
        slots = [slot for slot in self._net.params if slot.name in names]
        wanted = [parameters[self._place[slot.name]] for slot in slots]
        derivatives = _gradients(logit, wanted, keep=bool(calls))
        gradients = {s.name: g for s, g in zip(slots, derivatives, strict=True) if g is not None}
        if self._active:
            gradients.update(self._masked_gradients(logit, calls, names))
        values = self._zeros(1)
        for slot in slots:
            if slot.name in gradients:
                g = gradients[slot.name].to_dense().reshape(1, -1)  # an embedding's may be sparse
                values[:, self._place[slot.name]] = with_gradients(self._clients, slot, g)
        return Products(outputs, target, values)

    def memory(self, x: Tensor) -> int:
        """About the bytes that one of the inputs x needs in `together`.

        Three times what goes into and out of recorded layers and convolutions, or twice what the graph saves (of all
        layers), whichever is more.
        """
        saved: dict[int, UntypedStorage] = {}  # held on to, so that no other takes over an address

        def keep(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor.new_empty(0)

        def counts(part: nn.Module) -> bool:
            return is_recorded(part) or isinstance(part, nn.modules.conv._ConvNd)

        with (
            recording(self._module, len(x), self._active, counts) as calls,
            saved_tensors_hooks(keep, lambda empty: empty),
        ):
            self._logit(x, None, leaves(self._net, self._theta))
        saved.pop(self._theta.untyped_storage().data_ptr(), None)
        through = sum(c.nbytes for c in calls)
        patches = max((_taps(c.layer) * c.below.nbytes for c in calls), default=0)
        return max(1, max(3 * through + 2 * patches, 2 * sum(s.nbytes() for s in saved.values())) // len(x))

    def _logit(self, x: Tensor, target: Tensor | None, parameters: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs [n, C], traced classes [n], and the sum of their logits with its graph."""
        outputs = logits(self._net, self._module, self._theta, x, parameters)
        target = outputs.detach().argmax(1) if target is None else target
        return outputs.detach(), target, outputs.gather(1, target[:, None]).sum()

    def _masked_gradients(self, logit: Tensor, calls: list[Call], names: frozenset[str]) -> dict[str, Tensor]:
        """Gradients of the tensors of traced layers through active neurons only, added over all calls."""
        filtered = {s.name for c in calls if is_traced(c.layer) for s in self._own[c.name].values()} & names
        views, gradients = self._net.views(self._theta), dict[str, Tensor]()
        for call, g in zip(calls, _gradients(logit, [c.edge for c in calls]), strict=True):
            filtered_slots = {t: s for t, s in self._own[call.name].items() if s.name in filtered}
            if g is None or not filtered_slots:
                continue
            tensors = {t: views[s.name].clone().requires_grad_() for t, s in self._own[call.name].items()}
            again = functional_call(call.layer, tensors, (call.below,))
            parts = torch.autograd.grad(again, [tensors[t] for t in filtered_slots], self._mask(call, g))
            for slot, part in zip(filtered_slots.values(), parts, strict=True):
                gradients[slot.name] = gradients[slot.name] + part if slot.name in gradients else part
        return gradients

    def _mask(self, call: Call, g: Tensor) -> Tensor:
        return g * positive(call) if self._active and is_traced(call.layer) else g

    def _zeros(self, n: int) -> Tensor:
        return torch.zeros(n, len(self._place), len(self._clients), dtype=torch.float64, device=self._theta.device)


def _is_layer(part: nn.Module) -> bool:
    return is_recorded(part) or is_traced(part)


def _taps(layer: nn.Module) -> int:
    return math.prod(layer.kernel_size) if isinstance(layer, nn.modules.conv._ConvNd) else 1


def _gradients(logit: Tensor, inputs: Sequence[Tensor | GradientEdge], keep: bool = False) -> tuple[Tensor | None, ...]:
    if not inputs:
        return ()
    return torch.autograd.grad(logit, inputs, retain_graph=keep, allow_unused=True)  # type: ignore[arg-type]
