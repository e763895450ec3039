"""A model as the engine sees it: a template module, and the layout of its state in one flat vector."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from experiments.core.engine.plain import plain_weight_norms
from experiments.core.engine.seeds import seeded, stream


@dataclass(frozen=True)
class Slot:
    """One named tensor of the state: columns start:stop of a flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Net:
    """A template module, its loss, and where each tensor lies in a flat state vector of length `size`.

    Trained parameters come first (p columns), in the module's own order, then floating-point buffers (BatchNorm
    statistics), which are aggregated like the rest of the state, then counters. Parameters that do not require a
    gradient are frozen: constants of the template, as all other buffers are.

    Attributes:
        module: the template; its own tensors are never trained.
        loss: "cross_entropy" on the module's outputs, or "squared" (0.5 * sum of squares).
        params, buffers: the slots.
        counters: integer buffers that training moves and depends on (BatchNorm with momentum=None), found by
            `examine`: carried through local steps, averaged by the server, and rounded where they are used.
        draws: the module draws random numbers in training (found by `examine`).
        redraws: it does so in its backward pass, too (activation checkpointing).
        restless: it does so in evaluation mode, too.
        still: it computes in training what it computes in evaluation (see `stilled`).
    """

    module: nn.Module
    loss: str
    params: tuple[Slot, ...]
    buffers: tuple[Slot, ...]
    counters: tuple[Slot, ...] = ()
    draws: bool = False
    redraws: bool = False
    restless: bool = False
    still: bool = False

    @classmethod
    def of(
        cls, module: nn.Module, loss: str = "cross_entropy", counters: Sequence[str] = (), thawed: bool = False
    ) -> Net:
        """Lay out the state of `module`, with the integer buffers named in `counters`.

        `thawed` counts parameters that require no gradient among the others.
        """
        buffers = dict(module.named_buffers())
        parts = (
            [(n, t) for n, t in module.named_parameters() if t.requires_grad or (thawed and t.is_floating_point())],
            [(n, t) for n, t in buffers.items() if t.is_floating_point()],
            [(n, buffers[n]) for n in counters],
        )
        return cls(module, loss, *_slots(*parts))

    @property
    def p(self) -> int:
        """Number of trained parameters."""
        return self.params[-1].stop if self.params else 0

    @property
    def real(self) -> int:
        """Length of the state without counters: what privacy clips and adds noise to."""
        return self.buffers[-1].stop if self.buffers else self.p

    @property
    def size(self) -> int:
        """Length of the flat state: parameters, buffers, counters."""
        return self.counters[-1].stop if self.counters else self.real

    @cached_property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that are not trained."""
        trained = {slot.name for slot in self.params}
        return tuple(name for name, _ in self.module.named_parameters() if name not in trained)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All slots, in their order."""
        return self.params + self.buffers + self.counters

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Named views of a flat state `theta` [..., size]; leading dimensions stay.

        Counters (copies, as integers) and frozen parameters (in the arithmetic of theta) are there, too.
        """
        lead = theta.shape[:-1]
        tensors = {s.name: theta[..., s.start : s.stop].reshape((*lead, *s.shape)) for s in self.slots}
        for s in self.counters:
            tensors[s.name] = tensors[s.name].round().to(self.module.get_buffer(s.name).dtype)
        for name in self.frozen:
            tensor = self.module.get_parameter(name).detach()
            tensor = tensor.to(theta.device, theta.dtype if tensor.is_floating_point() else tensor.dtype)
            tensors[name] = tensor.expand(*lead, *tensor.shape)
        return tensors

    def flat(self) -> Tensor:
        """The template's own tensors as one flat state [size]."""
        tensors = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        reals = torch.cat([tensors[s.name].detach().reshape(-1) for s in self.params + self.buffers])
        counted = [tensors[s.name].reshape(-1).to(reals) for s in self.counters]
        return torch.cat([reals, *counted]) if counted else reals

    def stilled(self) -> Net:
        """The same model with a loss that is a fixed function of each sample, in training, too; the same states.

        BatchNorm uses its running statistics and never moves them, nothing is dropped. So each sample's loss depends on
        that sample alone and is the same at every call, which gradients, Hessians and retraining need (Basu et al. 2021
        do not say what they did). Running statistics that were never moved are 0 and 1: do this with a model that has
        been trained, or one that is to train without normalisation.
        """
        return replace(self, draws=self.restless, redraws=False, still=True)

    @cached_property
    def thawed(self) -> Net:
        """The same model with its frozen parameters among the others; see `widened`."""
        whole = Net.of(self.module, self.loss, [s.name for s in self.counters], thawed=True)
        return replace(whole, draws=self.draws, restless=self.restless, still=self.still)

    def widened(self, theta: Tensor) -> Tensor:
        """States [..., size] of this net as states of `thawed`."""
        tensors, whole = self.views(theta), self.thawed
        return torch.cat([tensors[s.name].reshape(*theta.shape[:-1], -1).to(theta) for s in whole.slots], -1)

    def call(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs in evaluation mode with flat state `theta` [size] on x [n, ...]; may be transformed by torch.func.

        Buffers are constants to every derivative: PyTorch does not differentiate by BatchNorm's statistics.
        """
        tensors = self.views(theta)
        tensors.update({s.name: tensors[s.name].detach() for s in self.buffers})
        return functional_call(private(self.module), tensors, x)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Loss of each sample: outputs [..., n, C], y [n] or [n, C] -> [..., n]."""
        if self.loss == "squared":
            return 0.5 * (outputs - y).square().sum(-1)
        logp = F.log_softmax(outputs, -1)
        return -logp.gather(-1, y.expand(outputs.shape[:-1]).unsqueeze(-1)).squeeze(-1)


_Named = Sequence[tuple[str, Tensor]]


def _slots(
    params: _Named, buffers: _Named, counters: _Named
) -> tuple[tuple[Slot, ...], tuple[Slot, ...], tuple[Slot, ...]]:
    """Places for the named tensors of all parts, one after another."""
    parts = (params, buffers, counters)
    columns = pairwise(accumulate((tensor.numel() for part in parts for _, tensor in part), initial=0))
    first, second, third = (tuple(Slot(n, tuple(t.shape), *next(columns)) for n, t in part) for part in parts)
    return first, second, third


_copies = threading.local()


def private(module: nn.Module, prepare: Callable[[nn.Module], nn.Module] = nn.Module.eval) -> nn.Module:
    """A copy of a template for this thread: functional_call swaps tensors in place, so threads must not share one.

    `prepare` is done to the copy once, when it is made.
    """
    known = _copies.__dict__.setdefault("of", {}).setdefault(prepare, WeakKeyDictionary())
    if module not in known:
        known[module] = prepare(plain_weight_norms(clone(module, _constants(module))))
    return known[module]


def clone(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A copy of a module; `memo` as for copy.deepcopy.

    A tensor that a hook computes from parameters (torch.nn.utils.weight_norm) has a graph, which deepcopy rejects: the
    copy gets its value, and computes its own.
    """
    computed = (v for part in module.modules() for v in vars(part).values() if isinstance(v, Tensor) and v.grad_fn)
    return copy.deepcopy(module, {**{id(v): v.detach().clone() for v in computed}, **(memo or {})})


def _constants(module: nn.Module) -> dict[int, Tensor]:
    """Integer buffers that no layer changes (places of tokens, masks), which copies of the module may share.

    A copy of them made while torch.func transforms a call would belong to that transform and fail after it.
    """
    fixed = (m for m in module.modules() if not isinstance(m, nn.modules.batchnorm._BatchNorm))
    return {id(b): b for m in fixed for b in m.buffers(recurse=False) if not b.is_floating_point()}


def initialise(module: nn.Module, seed: int, scheme: str = "glorot_uniform") -> None:
    """Draw the weights of `module` in place, each tensor from a stream named after it.

    "glorot_uniform" (Glorot and Bengio 2010; TensorFlow 1's default, which LEAF relies on): every tensor of two or more
    dimensions ~ U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
    "koh_liang" (Koh and Liang 2017, code): every tensor of two or more dimensions ~ N(0, s^2) drawn within two s, with
    s = 2 / sqrt(fan_in) for convolutions and 1 / sqrt(fan_in) for matrices.
    In both, normalisation weights stay one and other vectors become zero.
    "default" draws by PyTorch's own scheme, from a generator seeded by name; a module that defines `reset_parameters`
    must reset its children itself.
    "keep" draws nothing: the module stays as it came.
    Tensors named in the module's attribute `loaded_tensors`, if it has one, keep their values; the others are drawn as
    they would be without.

    Raises:
        ValueError: on an unknown scheme.
    """
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    if scheme == "keep":
        return
    loaded = [(tensors[name], tensors[name].detach().clone()) for name in getattr(module, "loaded_tensors", ())]
    if scheme == "default":
        with seeded(seed, "init"):
            _reset(module, set())
    else:
        _draw(module, seed, scheme)
    with torch.no_grad():
        for tensor, value in loaded:
            tensor.copy_(value)


def _reset(module: nn.Module, seen: set[nn.Module]) -> None:
    """PyTorch's own scheme, from the top: once for each module, and not below one that resets its children itself."""
    seen.add(module)
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for child in module.children():
        if child not in seen:
            _reset(child, seen)


def _draw(module: nn.Module, seed: int, scheme: str) -> None:
    """One of our schemes: each tensor from a stream named after it."""
    draw = {"glorot_uniform": _glorot_uniform, "koh_liang": _koh_liang}.get(scheme)
    if draw is None:
        raise ValueError(f"unknown initialisation {scheme!r}; known: glorot_uniform, koh_liang, default, keep")
    norms = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
    of_norms = {
        f"{n}.{t}".lstrip(".") for n, m in module.named_modules() if isinstance(m, norms) for t in ("weight", "bias")
    }
    for name, tensor in module.named_parameters():
        if name in of_norms:
            continue
        with torch.no_grad():
            if tensor.dim() < 2:
                tensor.zero_()
            else:
                tensor.copy_(draw(tensor, stream(seed, "init", tensor=name)))


def _glorot_uniform(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    receptive = tensor[0, 0].numel() if tensor.dim() > 2 else 1
    bound = (6.0 / ((tensor.shape[0] + tensor.shape[1]) * receptive)) ** 0.5
    return torch.from_numpy(rng.uniform(-bound, bound, tensor.shape))


def _koh_liang(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    # TensorFlow draws a normal number again until it lies within two deviations: the inverse of the cut distribution.
    most = math.erf(2 / math.sqrt(2))
    normal = math.sqrt(2) * torch.erfinv(torch.from_numpy(rng.uniform(-most, most, tensor.shape)))
    return normal * (2.0 if tensor.dim() > 2 else 1.0) / math.sqrt(tensor[0].numel())
