"""Products of clients with the gradients of single logits, for many inputs at once wherever that is exact.

In evaluation mode inputs do not touch one another, so one backward of the sum of their logits gives every layer's
output gradients of each of them, and `_products` does the rest. Whether that holds for a tensor (a layer called with
another first dimension than the inputs', a weight used without calling its layer, ...) is not guessed: two inputs are
computed both ways when a module is first seen, and tensors that disagree are left to plain autograd, input by input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.func import functional_call

from experiments.core.engine.device import free_bytes
from experiments.core.engine.net import Net
from experiments.core.engine.seeds import stream
from experiments.core.estimators._calls import Call, is_recorded, is_traced, recording
from experiments.core.estimators._logits import leaves, logits, template
from experiments.core.estimators._products import Clients, of_call, with_gradients

_FEW = 4
"""Below this many inputs plain autograd is as quick as finding out what else would do."""
_TOLERANCE = {torch.float64: 1e-8}


@dataclass(frozen=True)
class Plan:
    """The names of tensors whose products may be taken for many inputs at once, and the bytes an input needs there."""

    together: frozenset[str]
    memory: int


_plans: WeakKeyDictionary[nn.Module, dict[object, Plan]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Products:
    """outputs [n, C]; target [n]; values [n, P, K + 1] float64, theta_G first, then the differences of the clients."""

    outputs: Tensor
    target: Tensor
    values: Tensor


class Tracer:
    """Products of one global model and its clients.

    Args:
        net: the model.
        theta: [size], the global state.
        locals: [K, size], the clients' states.
        active: only active neurons of the traced layers take part.
    """

    def __init__(self, net: Net, theta: Tensor, locals: Tensor, active: bool = False) -> None:
        self._net, self._theta, self._active = net, theta.detach(), active
        self._clients, self._module = Clients(self._theta, locals.detach()), template(net)
        names = {id(tensor): name for name, tensor in self._module.named_parameters()}
        slots = {slot.name: slot for slot in net.params}
        self._own = {
            name: {t: slots[names[id(tensor)]] for t, tensor in part.named_parameters(recurse=False)}
            for name, part in self._module.named_modules()
        }
        self._place = {slot.name: j for j, slot in enumerate(net.params)}

    def products(self, x: Tensor, target: Tensor | None, done: Callable[[int], None]) -> Products:
        """All products of x [n, ...]; `done` is told after every chunk how many inputs are through."""
        plan = self._plan(x) if len(x) >= _FEW else Plan(frozenset(), 0)
        budget = min(free_bytes(x.device) // 4, 4 << 30)
        size = max(1, budget // plan.memory) if plan.together else 1
        parts = []
        for a in range(0, len(x), size):
            rows = slice(a, a + size)
            parts.append(self._chunk(x[rows], None if target is None else target[rows], plan.together))
            done(min(a + size, len(x)))
        return _joined(parts)

    def _chunk(self, x: Tensor, target: Tensor | None, together: frozenset[str]) -> Products:
        found, rest = None, frozenset(self._place)
        if together:
            found, taken = self._together(x, target, together)
            rest -= taken
            target = found.target
        if found is None or rest:
            each = [
                self._alone(x[i : i + 1], None if target is None else target[i : i + 1], rest) for i in range(len(x))
            ]
            alone = _joined(each)
            if found is None:
                return alone
            found.values.add_(alone.values)
        return found

    def _together(self, x: Tensor, target: Tensor | None, names: Iterable[str]) -> tuple[Products, frozenset[str]]:
        """Products of those tensors `names` that all inputs can share a backward for, and which these were."""
        n, parameters = len(x), leaves(self._net, self._theta)
        with recording(self._module, n) as calls:
            outputs = logits(self._net, self._module, self._theta, x, parameters)
        target = outputs.detach().argmax(1) if target is None else target
        logit = outputs.gather(1, target[:, None]).sum()
        odd = {s.name for c in calls if not len(c.below) == len(c.above) == n for s in self._own[c.name].values()}
        taken = frozenset(names) - odd
        found = self._zeros(n)
        for call, g in zip(calls, _gradients(logit, [c.edge for c in calls]), strict=True):
            slots = {t: s for t, s in self._own[call.name].items() if s.name in taken}
            if g is None or not slots:
                continue
            for tensor, value in of_call(self._clients, slots, call, self._mask(call, g)).items():
                found[:, self._place[slots[tensor].name]] += value
        return Products(outputs.detach(), target, found), taken

    def _alone(self, x: Tensor, target: Tensor | None, names: frozenset[str]) -> Products:
        """Products of the tensors `names` for one input [1, ...], by plain autograd in the parameters."""
        parameters = leaves(self._net, self._theta)
        with recording(self._module, 1, lambda part: self._active and _is_layer(part)) as calls:
            outputs = logits(self._net, self._module, self._theta, x, parameters)
        target = outputs.detach().argmax(1) if target is None else target
        logit = outputs.gather(1, target[:, None]).sum()
        slots = [slot for slot in self._net.params if slot.name in names]
        wanted = [parameters[self._place[slot.name]] for slot in slots]
        found = _gradients(logit, wanted, keep=bool(calls))
        gradients = {
            s.name: torch.zeros_like(w) if g is None else g for s, w, g in zip(slots, wanted, found, strict=True)
        }
        if self._active:
            gradients.update(self._masked_gradients(logit, calls, names))
        values = self._zeros(1)
        for slot in slots:
            values[:, self._place[slot.name]] = with_gradients(self._clients, slot, gradients[slot.name].reshape(1, -1))
        return Products(outputs.detach(), target, values)

    def _masked_gradients(self, logit: Tensor, calls: list[Call], names: frozenset[str]) -> dict[str, Tensor]:
        """Gradients of the tensors of traced layers through active neurons only, added over all calls."""
        filtered = {s.name for c in calls if is_traced(c.layer) for s in self._own[c.name].values()} & names
        views, found = self._net.views(self._theta), dict[str, Tensor]()
        for call, g in zip(calls, _gradients(logit, [c.edge for c in calls]), strict=True):
            own = {t: s for t, s in self._own[call.name].items() if s.name in filtered}
            if g is None or not own:
                continue
            tensors = {t: views[s.name].clone().requires_grad_() for t, s in self._own[call.name].items()}
            again = functional_call(call.layer, tensors, (call.below,))
            parts = torch.autograd.grad(again, [tensors[t] for t in own], self._mask(call, g))
            for slot, part in zip(own.values(), parts, strict=True):
                found[slot.name] = found[slot.name] + part if slot.name in found else part
        return found

    def _mask(self, call: Call, g: Tensor) -> Tensor:
        return g * call.positive if self._active and is_traced(call.layer) else g

    def _zeros(self, n: int) -> Tensor:
        return torch.zeros(n, len(self._place), len(self._clients), dtype=torch.float64, device=self._theta.device)

    def _plan(self, x: Tensor) -> Plan:
        """Which tensors `_together` gets right: found once for a module, input shape, precision and device."""
        known = _plans.setdefault(self._net.module, {})
        key = (x.shape[1:], self._theta.dtype, self._theta.device)
        if key not in known:
            known[key] = Tracer(self._net, self._theta, _probes(self._theta))._tried(x[:2])
        return known[key]

    def _tried(self, x: Tensor) -> Plan:
        """Compare both ways on x [2, ...]; the clients are random directions, which see any error in a gradient."""
        found, taken = self._together(x, None, self._place)
        alone = _joined([self._alone(x[i : i + 1], found.target[i : i + 1], frozenset(self._place)) for i in (0, 1)])
        limit = _TOLERANCE.get(self._theta.dtype, 1e-3)
        if not torch.allclose(found.outputs, alone.outputs, limit, limit):
            return Plan(frozenset(), 0)
        # The products with random directions are about as large as the gradient they meet.
        size = alone.values[:, :, 1:].square().mean(2).sqrt()
        # Some gradients are zero but for rounding (a bias in front of a softmax): they are judged by the others.
        limits = limit * (size + 1e-3 * size.amax(1, keepdim=True))
        right = ((found.values - alone.values)[:, :, 1:].abs().amax(2) <= limits).all(0)
        together = frozenset(name for name, j in self._place.items() if name in taken and bool(right[j]))
        return Plan(together, self._memory(x))

    def _memory(self, x: Tensor) -> int:
        with recording(self._module, len(x)) as calls:
            logits(self._net, self._module, self._theta, x, leaves(self._net, self._theta))
        patches = [_taps(c.layer) * c.below.nbytes for c in calls]
        return max(1, (3 * sum(c.below.nbytes + c.above.nbytes for c in calls) + 2 * max(patches, default=0)) // len(x))


def _is_layer(part: nn.Module) -> bool:
    return is_recorded(part) or is_traced(part)


def _taps(layer: nn.Module) -> int:
    return layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1


def _gradients(
    logit: Tensor, inputs: Sequence[Tensor] | Sequence[GradientEdge], keep: bool = False
) -> tuple[Tensor | None, ...]:
    if not inputs:
        return ()
    return torch.autograd.grad(logit, inputs, retain_graph=keep, allow_unused=True)


def _probes(theta: Tensor, count: int = 4) -> Tensor:
    """Random directions [count, size] in the memory of one: each is the one before, moved on by a place."""
    drawn = torch.from_numpy(stream(0, "probes").standard_normal(len(theta) + count - 1, dtype="float32"))
    return drawn.to(theta).as_strided((count, len(theta)), (1, 1))


def _joined(parts: Sequence[Products]) -> Products:
    outputs, target, values = (torch.cat([getattr(p, f) for p in parts]) for f in ("outputs", "target", "values"))
    return Products(outputs, target, values)
