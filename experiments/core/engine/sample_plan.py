"""Which way to gradients of single samples is right for a model, and how many samples fit into memory at once.

Whether one backward for all samples gives each sample's gradient (a layer may be called twice, with another first
dimension than the inputs', its weight used without calling the layer, ...) is not guessed: when a model is first seen,
a few samples are computed that way and by single backwards, and a way that disagrees is not taken. Which way is taken
follows from the model, not from a clock, so that a run that was interrupted ends in the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks

from experiments.core.engine.layered import samples
from experiments.core.engine.net import Net
from experiments.core.engine.sample_trial import layers_agree, single_gradient, vmap_agrees

MEMORY = {"cpu": 512 << 20, "cuda": 4 << 30}
"""Bytes that activations, their gradients and gradients of samples may take at once, in each thread."""
SMALL = 1 << 16
"""Up to so many parameters vmap over single gradients is faster than a loop.

Measured with 64 samples on one core: 14 times with 2,474 parameters, 6 times with 17,146, 2 to 3 times with 44,426 and
50,890, once with 62,050, 0.7 times with 78,042.
"""
DEEP = 16
"""Channels that fill a vector of float32."""

Way = Literal["layered", "vmapped", "looped"]


@dataclass(frozen=True)
class Plan:
    """How to compute gradients of single samples.

    Attributes:
        way: that was found right.
        memory: bytes that a sample needs.
        limit: bytes there are.
        layout: of the inputs, in memory.
    """

    way: Way
    memory: int
    limit: int
    layout: torch.memory_format = torch.contiguous_format

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of n samples, about equal, each within the limit."""
        count = -(-n // max(1, self.limit // self.memory))
        size = -(-n // max(1, count))
        for a in range(0, n, max(1, size)):
            yield slice(a, min(n, a + size))

    def laid_out(self, x: Tensor) -> Tensor:
        """Inputs as the model is to get them; a module may change them, so they are copies."""
        return x.clone(memory_format=self.layout) if x.dim() == 4 else x.clone()


_plans: WeakKeyDictionary[nn.Module, dict[object, Plan]] = WeakKeyDictionary()


def plan_of(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Plan:
    """The plan for states theta [B, size]: found once for a module, input shape, precision and device."""
    limit = MEMORY["cuda" if theta.device.type == "cuda" else "cpu"]
    known = _plans.setdefault(net.module, {})
    key = (x.shape[1:], x.dtype, theta.dtype, theta.device, net.params, net.loss, limit)
    if key in known:
        return known[key]
    if len(x) < 2 or not len(theta):
        return Plan("looped", 1, limit)
    plan, settled = _tried(net, theta[0], x[:2], y[:2], limit)
    if settled:
        known[key] = plan
    return plan


def _tried(net: Net, theta: Tensor, x: Tensor, y: Tensor, limit: int) -> tuple[Plan, bool]:
    """The first way that agrees with single backwards, and whether that will do for other states, too."""
    fits, settled = layers_agree(net, theta, x, y)
    if fits and settled:
        layout = _layout(net, theta, x, y)
        return Plan("layered", _layered_bytes(net, theta, x.contiguous(memory_format=layout), y), limit, layout), True
    if net.p <= SMALL and not fits and all(vmap_agrees(net, theta, x, y)):
        return Plan("vmapped", _single_bytes(net, theta, x, y), limit), settled
    return Plan("looped", 1, limit), settled


def _layout(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> torch.memory_format:
    """Channels last where the model allows it and has as many as fill a CPU's vectors: it convolves faster so."""
    deep = any(isinstance(part, nn.Conv2d) and part.in_channels >= DEEP for part in net.module.modules())
    if x.dim() != 4 or theta.device.type != "cpu" or not x.is_floating_point() or not deep:
        return torch.contiguous_format
    try:
        samples(net, theta, x.contiguous(memory_format=torch.channels_last), y)
    except RuntimeError:  # views that need the usual order
        return torch.contiguous_format
    return torch.channels_last


def _layered_bytes(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> int:
    """About the bytes that a sample needs: what the graph saves, gradients in outputs, gradients written out."""
    with _saving(theta) as saved:
        found = samples(net, theta, x, y)
    return max(1, (sum(saved.values()) + found.nbytes) // len(x))


def _single_bytes(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> int:
    """The same for vmap over single gradients: what one backward saves, and some gradients [p]."""
    with _saving(theta) as saved:
        single_gradient(net, theta, x[:1], y[:1])
    return 2 * sum(saved.values()) + 4 * net.p * theta.element_size()


@contextmanager
def _saving(theta: Tensor) -> Iterator[dict[int, int]]:
    """Bytes of the memory that graphs save while the context is open, by its address; theta's is not counted."""
    kept: list[UntypedStorage] = []  # held on to, so that no other takes over an address
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != theta.untyped_storage().data_ptr():
            kept.append(storage)
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield saved
