"""Products of clients with the gradients of single logits, for many inputs at once wherever that is exact.

Whether one backward for all inputs gives a tensor's gradients (its layer may be called with another first dimension
than the inputs', its weight used without calling the layer, ...) is not guessed: two inputs are computed both ways when
a module is first seen, and tensors that disagree are left to plain autograd, input by input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from experiments.core.engine.device import free_bytes
from experiments.core.engine.net import Net
from experiments.core.engine.seeds import stream
from experiments.core.estimators.numerics._gradient_ways import Products, Ways

_FEW = 4
"""Below this many inputs plain autograd is as fast as finding an alternative."""
_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class Plan:
    """How to take the products of many inputs at once.

    Attributes:
        together: the names of tensors for which that is right.
        memory: the bytes an input needs there.
        layout: of the inputs, in memory.
    """

    together: frozenset[str]
    memory: int
    layout: torch.memory_format = torch.contiguous_format


_plans: WeakKeyDictionary[nn.Module, dict[object, Plan]] = WeakKeyDictionary()


def products(
    net: Net,
    theta: Tensor,
    locals: Tensor,
    x: Tensor,
    target: Tensor | None,
    active: bool,
    done: Callable[[int], None],
) -> Products:
    """All products of x [n, ...]; `done` is told after every chunk how many inputs are through."""
    logit_products = Ways(net, theta, locals, active)
    plan = plan_of(net, theta, x) if len(x) >= _FEW else Plan(frozenset(), 0)
    budget = min(free_bytes(x.device) // 4, _MOST_BYTES)
    size = max(1, budget // plan.memory) if plan.together else 1
    parts = []
    for a in range(0, len(x), size):
        rows = slice(a, a + size)
        parts.append(_chunk(logit_products, x[rows], None if target is None else target[rows], plan))
        done(min(a + size, len(x)))
    return Products.joined(parts)


def _chunk(logit_products: Ways, x: Tensor, target: Tensor | None, plan: Plan) -> Products:
    if not plan.together:
        return logit_products.alone(x, target, logit_products.names)
    products, names = logit_products.together(x.contiguous(memory_format=plan.layout), target, plan.together)
    if names != logit_products.names:
        products.values.add_(logit_products.alone(x, products.target, logit_products.names - names).values)
    return products


def plan_of(net: Net, theta: Tensor, x: Tensor) -> Plan:
    """Which tensors go together: found once for a module, input shape, precision and device."""
    known = _plans.setdefault(net.module, {})
    key = (x.shape[1:], theta.dtype, theta.device)
    if key not in known:
        plan, settled = _tried(Ways(net, theta, _directions(theta)), x[:2])
        if not settled:
            return plan
        known[key] = plan
    return known[key]


def _directions(theta: Tensor, count: int = 4) -> Tensor:
    """Random directions [count, size] in the memory of one: each is the one before, shifted by one number."""
    drawn = torch.from_numpy(stream(0, "directions").standard_normal(len(theta) + count - 1, dtype="float32"))
    return drawn.to(theta).as_strided((count, len(theta)), (1, 1))


def _tried(logit_products: Ways, x: Tensor) -> tuple[Plan, bool]:
    """Compare both ways on x [2, ...], and tell whether the verdict will do for other states of the model, too.

    They come as first, second, first, first: a layer that sees them in another order (sorted, in groups) shows.
    The clients are random directions, which see any error in a gradient. A gradient may be zero but for rounding (a
    bias before a softmax) or altogether (behind a head of zeros): that says nothing of its tensor, and another tensor
    of its layer speaks for it; where none does, it is left to plain autograd and tested again next time.
    """
    rows = [0, 1, 0, 0]
    try:
        together, met, layout = _first(logit_products, x[rows])
    except Exception:  # a module of anyone's, for one input at a time; one by one shows what is wrong, if anything is
        return Plan(frozenset(), 0), False
    alone = logit_products.alone(x, together.target[:2], logit_products.names)
    alone = Products(alone.outputs[rows], together.target, alone.values[rows])
    finite = bool(alone.outputs.isfinite().all() and alone.values.isfinite().all())
    limit = 1e-8 if together.values.dtype == together.outputs.dtype else 1e-3
    if not finite or not torch.allclose(together.outputs, alone.outputs, limit, limit):
        return Plan(frozenset(), 0), finite
    # A product with a random direction is about as large as the gradient it meets.
    size = alone.values[:, :, 1:].square().mean(2).sqrt()
    error = (together.values - alone.values)[:, :, 1:].abs().amax(2)
    right = ((error <= limit * size) & (size > 0)).all(0)
    rounding = (error <= 1e-3 * limit * size.amax(1, keepdim=True)).all(0)
    sure = {name for name, r in zip(logit_products.order, right.tolist(), strict=True) if r} & met
    silent = {name for name, r in zip(logit_products.order, rounding.tolist(), strict=True) if r} & met - sure
    spoken = {name for of_layer in logit_products.layers.values() if of_layer & sure for name in of_layer & silent}
    return Plan(frozenset(sure | spoken), logit_products.memory(x), layout), silent == spoken


def _first(logit_products: Ways, x: Tensor) -> tuple[Products, frozenset[str], torch.memory_format]:
    """All inputs at once, images with their channels last if the module allows: a CPU convolves faster so."""
    if x.dim() == 4 and x.device.type == "cpu":
        try:
            return *logit_products.together(
                x.contiguous(memory_format=torch.channels_last), None, logit_products.names
            ), torch.channels_last
        except RuntimeError:
            pass  # views that need the usual order; another fault shows again below
    return *logit_products.together(x, None, logit_products.names), torch.contiguous_format
