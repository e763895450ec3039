"""One model after another through plain autograd: works for every module, and wins for big ones on a CPU."""

from __future__ import annotations

import copy
import threading
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from experiments.core.engine.draws import drawing
from experiments.core.engine.formulations import Formulation, Sampled
from experiments.core.engine.formulations._common import is_changed
from experiments.core.engine.net import Net, clone
from experiments.core.engine.split import behind, feature_shape, path_of


class Looped(Formulation):
    """Each model in turn, in a private copy of the module whose tensors are views of the model's state.

    A sample of weight 0 is left out altogether where that can be seen (BatchNorm statistics, time). Where the model
    draws random numbers it stays in, so that the others keep theirs; with buffers as well it is left out, and the
    others' draws move up. The copy computes in channels_last (float32 on a CPU) with max-pooling before ReLU: exact,
    and on some CPUs a sixth faster.
    """

    name = "looped"
    names_draws = True
    splits = True

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._local = threading.local()
        self._draws: int | None = None

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Every module on every device."""
        return True

    def at(self, draws: int) -> Formulation:
        """See `Formulation.at`."""
        if not self.net.draws:
            return self
        named = copy.copy(self)
        named._draws = draws
        return named

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`.

        Raises:
            RuntimeError: the model draws, and no stream was named (see `at`).
        """
        module = self._module(theta, x)
        module.train(not self.net.still)
        x = _layout(module, x)
        out = torch.zeros(len(theta), self.net.p, dtype=theta.dtype, device=theta.device)
        for b in range(len(theta)):
            self._gradient_of_one(module, theta[b], *self._counted(x, y, _row(weight, b)), out[b])
        return out

    def joint(
        self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, block: str, sampled: Sampled | None
    ) -> tuple[Tensor, Tensor]:
        """See `Formulation.joint`."""
        path = path_of(self.net.module, block)
        module = self._module(theta, x, path)
        module.train(not self.net.still)
        x = _layout(module, x)
        out = torch.zeros(len(theta), self.net.p, dtype=theta.dtype, device=theta.device)
        features = []
        for b in range(len(theta)):
            row = _row(weight, b)
            rest = None if sampled is None else _Rest(_layout(module, sampled.features[b]), sampled, b)
            with behind(module, path, None if rest is None else rest.features) as seen:
                self._gradient_of_one(module, theta[b], *self._counted(x, y, row), out[b], rest)
            features.append(_spread(seen, row, len(x)))
            if row is not None:
                out[b] *= (row != 0).any()
        shape = next((f.shape[1:] for f in features if f is not None), None) or feature_shape(module, block, x[:2])
        return out, torch.stack([theta.new_zeros(len(x), *shape) if f is None else f for f in features])

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`.

        Raises:
            RuntimeError: the model draws in evaluation mode, and no stream was named (see `at`).
        """
        module = self._module(theta, x)
        module.eval()
        x = _layout(module, x)
        with torch.no_grad():
            return torch.stack([self._output_of_one(module, row, x) for row in theta])

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """One model is alive at a time, so a longer stack needs its gradients only."""
        return 8 * self.net.p

    def _output_of_one(self, module: nn.Module, state: Tensor, x: Tensor) -> Tensor:
        self._bind(module, state)
        with self._drawing(x, self.net.restless):
            return module(x)

    def _counted(self, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Samples and weights of a pass, without the samples that count nothing where they may be left out of it."""
        if weight is None or not (self._moves or not (weight.is_cuda or self.net.draws)):
            return x, y, weight
        remaining = weight != 0
        return (x, y, weight) if bool(remaining.all()) else (x[remaining], y[remaining], weight[remaining])

    def _gradient_of_one(
        self,
        module: nn.Module,
        state: Tensor,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        out: Tensor,
        rest: _Rest | None = None,
    ) -> None:
        if not len(x):
            return
        self._bind(module, state)
        with self._drawing(x, self.net.draws):
            outputs = module(x)
            losses = self.net.losses(outputs if rest is None else outputs[: len(x)], y)
            loss = losses.mean() if weight is None else (losses * weight).sum() / _not_zero(weight.sum())
            if rest is not None:
                loss = rest.added(loss, self.net.losses(outputs[len(x) :], rest.labels))
            grads = self._derived(loss) if self.net.redraws else None
        for slot, grad in zip(self.net.params, grads or self._derived(loss), strict=True):
            if grad is not None:
                out[slot.start : slot.stop].view(slot.shape).copy_(grad)
        self._keep_buffers(state)

    @property
    def _moves(self) -> bool:
        """Whether a forward pass in training leaves traces in the state."""
        return bool(self.net.buffers or self.net.counters)

    def _derived(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients in the module's parameters, outside the lock of `drawing` where that is right."""
        return torch.autograd.grad(loss, [tensor for _, tensor in self._local.params], allow_unused=True)

    def _drawing(self, x: Tensor, draws: bool) -> AbstractContextManager[None]:
        """What is drawn inside comes from the stream that was named."""
        if not draws:
            return nullcontext()
        if self._draws is None:
            raise RuntimeError("the model draws random numbers, and nobody named the step they are for")
        return drawing(self._draws, x.device)

    def _bind(self, module: nn.Module, state: Tensor) -> nn.Module:
        """Make the module's tensors views of `state`, so that buffers are updated in place."""
        views, local = self.net.views(state.detach()), self._local
        for name, tensor in local.params:
            tensor.data = views[name]
        local.bound = [(owner, name, slot, views[slot.name]) for owner, name, slot in local.buffers]
        for owner, name, _, view in local.bound:
            owner._buffers[name] = view
        for owner, name, tensor, start in local.constants:
            owner._buffers[name] = tensor.copy_(start)
        return module

    def _keep_buffers(self, state: Tensor) -> None:
        """Write back what training did not change in place: counters, and buffers that were replaced."""
        for owner, name, slot, view in self._local.bound:
            now = owner._buffers[name]
            if now is not view or not view.is_floating_point():
                state[slot.start : slot.stop] = now.detach().reshape(-1).to(state)

    def _module(self, theta: Tensor, x: Tensor, split: str = "") -> nn.Module:
        """The calling thread's copy of the template for the device and dtype of `theta` and inputs such as x.

        What the block at the path `split` gives is what it gives in the template.
        """
        local, key = self._local, (theta.device, theta.dtype, split)
        if getattr(local, "key", None) != key:
            module = _pool_first(clone(self.net.module), split).to(theta.device, theta.dtype)
            module._channels_last = not self.net.draws and _takes_channels_last(module, theta, x)  # type: ignore[assignment]
            local.module = module
            local.params = [(s.name, module.get_parameter(s.name).requires_grad_()) for s in self.net.params]
            slots = {slot.name: slot for slot in self.net.buffers + self.net.counters}
            named = [
                (owner, name, f"{path}.{name}".lstrip("."), tensor)
                for path, owner in module.named_modules()
                for name, tensor in owner._buffers.items()
                if tensor is not None
            ]
            local.buffers = [(owner, name, slots[full]) for owner, name, full, _ in named if full in slots]
            local.constants = [(owner, name, t, t.clone()) for owner, name, full, t in named if full not in slots]
            local.key = key
        return local.module


def _not_zero(total: Tensor) -> Tensor:
    return torch.where(total == 0, torch.ones_like(total), total)


def _takes_channels_last(module: nn.Module, theta: Tensor, x: Tensor) -> bool:
    """Whether images may come with their channels last: a view of what a convolution made may want the usual order."""
    convolves = any(isinstance(part, nn.Conv2d) for part in module.modules())
    if not (theta.device.type == "cpu" and theta.dtype == torch.float32 and x.dim() == 4 and convolves):
        return False
    try:
        with torch.no_grad():
            module.eval()(_channels_last(x[:2].clone()))
    except RuntimeError:
        return False
    return True


def _layout(module: nn.Module, x: Tensor) -> Tensor:
    return _channels_last(x) if x.dim() == 4 and getattr(module, "_channels_last", False) else x


def _channels_last(x: Tensor) -> Tensor:
    """[n, C, H, W] with strides that say so: those of one channel may read either way, and PyTorch takes the other."""
    n, c, h, w = x.shape
    return x.contiguous(memory_format=torch.channels_last).as_strided((n, c, h, w), (h * w * c, 1, w * c, c))


def _row(weight: Tensor | None, b: int) -> Tensor | None:
    return None if weight is None else weight[b]


class _Rest:
    """The sampled features of one model, and their part of its loss."""

    def __init__(self, features: Tensor, sampled: Sampled, b: int) -> None:
        self.features, self.labels, self._shares = features, sampled.labels, sampled.shares
        self._weight = _row(sampled.weight, b)

    def added(self, loss: Tensor, losses: Tensor) -> Tensor:
        """The joint loss from that of the samples and the losses [m] of the sampled features."""
        weight, (real, share) = self._weight, self._shares
        mean = losses.mean() if weight is None else (losses * weight).sum() / _not_zero(weight.sum())
        return real * loss + share * mean


def _spread(seen: list[Tensor], weight: Tensor | None, n: int) -> Tensor | None:
    """The features [n, ...] of all samples from those that went through; None where none did."""
    if not seen:
        return None
    features = seen[0].detach()
    if weight is None or len(features) == n:
        return features
    whole = features.new_zeros(n, *features.shape[1:])
    whole[weight != 0] = features
    return whole


def _pool_first(module: nn.Module, split: str) -> nn.Module:
    """Swap ReLU, MaxPool2d into MaxPool2d, ReLU: the same values and gradients, a quarter of the ReLU's work.

    Not where the network is split between the two.
    """
    between = module.get_submodule(split) if split else None
    for part in module.modules():
        if type(part) is not nn.Sequential:
            continue
        for i in range(len(part) - 1):
            pool = part[i + 1]
            plain = type(part[i]) is nn.ReLU and type(pool) is nn.MaxPool2d and not pool.return_indices
            if plain and part[i] is not between and not is_changed(part[i]) and not is_changed(pool):
                part[i], part[i + 1] = pool, part[i]
    return module
