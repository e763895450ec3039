"""A model as the engine sees it: a template module, and the layout of its state in one flat vector."""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

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

    Parameters come first (p columns), in the module's own order, then floating-point buffers
    (BatchNorm statistics), which are aggregated like the rest of the state. Integer buffers are constants.

    Attributes:
        module: the template; its own tensors are never trained.
        loss: "cross_entropy" on the module's outputs, or "squared" (0.5 * sum of squares).
        params, buffers: the slots.
    """

    module: nn.Module
    loss: str
    params: tuple[Slot, ...]
    buffers: tuple[Slot, ...]

    @classmethod
    def of(cls, module: nn.Module, loss: str = "cross_entropy") -> Net:
        """Lay out the state of `module`."""
        parameters = list(module.named_parameters())
        statistics = [(name, b) for name, b in module.named_buffers() if b.is_floating_point()]
        slots: list[Slot] = []
        at = 0
        for name, tensor in [*parameters, *statistics]:
            slots.append(Slot(name, tuple(tensor.shape), at, at + tensor.numel()))
            at += tensor.numel()
        return cls(module, loss, tuple(slots[: len(parameters)]), tuple(slots[len(parameters) :]))

    @property
    def p(self) -> int:
        """Number of trained parameters."""
        return self.params[-1].stop

    @property
    def size(self) -> int:
        """Length of the flat state: parameters and buffers."""
        return (self.buffers or self.params)[-1].stop

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Named views of a flat state `theta` [..., size]; leading dimensions are kept."""
        lead = theta.shape[:-1]
        return {s.name: theta[..., s.start : s.stop].reshape((*lead, *s.shape)) for s in self.params + self.buffers}

    def flat(self) -> Tensor:
        """The template's own tensors as one flat state [size]."""
        tensors = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return torch.cat([tensors[s.name].detach().reshape(-1) for s in self.params + self.buffers])

    def call(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs of the model with flat state `theta` [size] on x [n, ...]; may be transformed by torch.func.

        Buffers are constants to every derivative: PyTorch refuses to differentiate by BatchNorm's statistics.
        """
        tensors = self.views(theta)
        tensors.update({s.name: tensors[s.name].detach() for s in self.buffers})
        return functional_call(_private(self.module), tensors, x)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Loss of each sample: outputs [..., n, C], y [n] or [n, C] -> [..., n]."""
        if self.loss == "squared":
            return 0.5 * (outputs - y).square().sum(-1)
        logp = F.log_softmax(outputs, -1)
        return -logp.gather(-1, y.expand(outputs.shape[:-1]).unsqueeze(-1)).squeeze(-1)


_copies = threading.local()


def _private(module: nn.Module) -> nn.Module:
    """A copy of a template for this thread: functional_call swaps tensors in place, so threads must not share one."""
    known = _copies.__dict__.setdefault("of", WeakKeyDictionary())
    if module not in known:
        known[module] = copy.deepcopy(module, _constants(module))
    return known[module]


def _constants(module: nn.Module) -> dict[int, Tensor]:
    """Integer buffers that no layer changes (places of tokens, masks), which copies of the module may share.

    A copy of them made while torch.func transforms a call would belong to that transform and fail after it.
    """
    fixed = (m for m in module.modules() if not isinstance(m, nn.modules.batchnorm._BatchNorm))
    return {id(b): b for m in fixed for b in m.buffers(recurse=False) if not b.is_floating_point()}


def initialise(module: nn.Module, seed: int, scheme: str = "glorot_uniform") -> None:
    """Draw the weights of `module` in place, each tensor from a stream of its own name.

    "glorot_uniform" (Glorot and Bengio 2010; TensorFlow 1's default, which LEAF relies on): every tensor of two or more
    dimensions ~ U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
    "koh_liang" (Koh and Liang 2017, code): every tensor of two or more dimensions ~ N(0, s^2) drawn within two s, with
    s = 2 / sqrt(fan_in) for convolutions and 1 / sqrt(fan_in) for matrices.
    In both, normalisation weights stay one and other vectors become zero.
    "default" draws by PyTorch's own scheme, from a generator seeded by name; a module that has a `reset_parameters` of
    its own answers for its children.
    "keep" draws nothing: the module stays as it came.
    Tensors named in the module's attribute `loaded_tensors`, if it has one, keep their values; the others are drawn as
    they would be without.

    Raises:
        ValueError: on an unknown scheme.
    """
    held = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    if scheme == "keep":
        return
    kept = [(held[name], held[name].detach().clone()) for name in getattr(module, "loaded_tensors", ())]
    if scheme == "default":
        with seeded(seed, "init"):
            _reset(module, set())
    else:
        _draw(module, seed, scheme)
    with torch.no_grad():
        for tensor, value in kept:
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
    """A scheme that is ours: each tensor from a stream of its own name."""
    draw = {"glorot_uniform": _glorot_uniform, "koh_liang": _koh_liang}.get(scheme)
    if draw is None:
        raise ValueError(f"unknown initialisation {scheme!r}; known: glorot_uniform, koh_liang, default, keep")
    norms = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
    kept = {
        f"{n}.{t}".lstrip(".") for n, m in module.named_modules() if isinstance(m, norms) for t in ("weight", "bias")
    }
    for name, tensor in module.named_parameters():
        if name in kept:
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
