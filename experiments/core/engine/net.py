"""A model as the engine sees it: a template module, and the layout of its state in one flat vector."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from experiments.core.engine.seeds import stream


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
        return {s.name: theta[..., s.start : s.stop].reshape(*lead, *s.shape) for s in self.params + self.buffers}

    def flat(self) -> Tensor:
        """The template's own tensors as one flat state [size]."""
        tensors = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return torch.cat([tensors[s.name].detach().reshape(-1) for s in self.params + self.buffers])

    def call(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs of the model with flat state `theta` [size] on x [n, ...]; may be transformed by torch.func."""
        return functional_call(_private(self.module), self.views(theta), x)

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
        known[module] = copy.deepcopy(module)
    return known[module]


def initialise(module: nn.Module, seed: int, scheme: str = "glorot_uniform") -> None:
    """Draw the weights of `module` in place, each tensor from a stream of its own name.

    "glorot_uniform" (Glorot and Bengio 2010; TensorFlow 1's default, which LEAF relies on): every tensor of two or more
    dimensions ~ U(-a, a) with a = sqrt(6 / (fan_in + fan_out)); normalisation weights stay one, other vectors become
    zero.
    "default" leaves PyTorch's own scheme, drawn from a generator seeded by name.

    Raises:
        ValueError: on an unknown scheme.
    """
    if scheme == "default":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "init").integers(2**31)))
            for part in module.modules():
                reset = getattr(part, "reset_parameters", None)
                if callable(reset):
                    reset()
        return
    if scheme != "glorot_uniform":
        raise ValueError(f"unknown initialisation {scheme!r}; known: glorot_uniform, default")
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
                continue
            receptive = tensor[0, 0].numel() if tensor.dim() > 2 else 1
            bound = (6.0 / ((tensor.shape[0] + tensor.shape[1]) * receptive)) ** 0.5
            drawn = stream(seed, "init", tensor=name).uniform(-bound, bound, tensor.shape)
            tensor.copy_(torch.from_numpy(drawn))
