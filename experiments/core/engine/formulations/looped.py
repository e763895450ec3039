"""One model after another through plain autograd: works for every module, and wins for big ones on a CPU."""

from __future__ import annotations

import copy
import threading

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net


class Looped(Formulation):
    """Each model in turn, in a private copy of the module whose tensors are views of the model's state.

    A sample of weight 0 is left out altogether where that can be seen (BatchNorm statistics, time). The copy computes
    in channels_last (float32 on a CPU) with max-pooling before ReLU: exact, and on some CPUs a sixth faster.
    """

    name = "looped"

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._local = threading.local()

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Every module on every device."""
        return True

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`."""
        module = self._module(theta)
        module.train()
        x = _layout(module, x)
        out = theta.new_zeros(theta.shape[0], self.net.p)
        for b in range(theta.shape[0]):
            self._gradient_of_one(module, theta[b], x, y, None if weight is None else weight[b], out[b])
        return out

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        module = self._module(theta)
        module.eval()
        x = _layout(module, x)
        with torch.no_grad():
            return torch.stack([self._bind(module, row)(x) for row in theta])

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """One model is alive at a time, so a longer stack needs its gradients only."""
        return 8 * self.net.p

    def _gradient_of_one(
        self, module: nn.Module, state: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, out: Tensor
    ) -> None:
        if weight is not None and (self.net.buffers or not weight.is_cuda):
            kept = weight != 0
            some = int(kept.sum())
            if some == 0:
                return
            if some < len(kept):
                x, y, weight = x[kept], y[kept], weight[kept]
        self._bind(module, state)
        losses = self.net.losses(module(x), y)
        loss = losses.mean() if weight is None else (losses * weight).sum() / _not_zero(weight.sum())
        tensors = [p for p in module.parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, tensors, allow_unused=True)
        for slot, grad in zip(self.net.params, grads, strict=True):
            if grad is not None:
                out[slot.start : slot.stop].view(slot.shape).copy_(grad)

    def _bind(self, module: nn.Module, state: Tensor) -> nn.Module:
        """Make the module's tensors views of `state`, so that buffers are updated in place."""
        views = self.net.views(state.detach())
        for name, tensor in self._local.params:
            tensor.data = views[name]
        for owner, name, full in self._local.buffers:
            owner._buffers[name] = views[full]
        for tensor, start in self._local.constants:
            tensor.copy_(start)
        return module

    def _module(self, theta: Tensor) -> nn.Module:
        """The calling thread's copy of the template for the device and dtype of `theta`."""
        local = self._local
        if getattr(local, "key", None) != (theta.device, theta.dtype):
            module = _pool_first(copy.deepcopy(self.net.module)).to(theta.device, theta.dtype)
            if (
                theta.device.type == "cpu"
                and theta.dtype == torch.float32
                and any(isinstance(m, nn.Conv2d) for m in module.modules())
            ):
                module._channels_last = True  # type: ignore[assignment]
            for tensor in module.parameters():
                tensor.requires_grad_(True)
            local.module, local.params = module, list(module.named_parameters())
            named = [
                (owner, name, f"{path}.{name}".lstrip("."))
                for path, owner in module.named_modules()
                for name in owner._buffers
                if owner._buffers[name] is not None
            ]
            state = {slot.name for slot in self.net.buffers}
            local.buffers = [item for item in named if item[2] in state]
            kept = [owner._buffers[name] for owner, name, full in named if full not in state]
            local.constants = [(tensor, tensor.clone()) for tensor in kept if tensor is not None]
            local.key = (theta.device, theta.dtype)
        return local.module


def _not_zero(total: Tensor) -> Tensor:
    return torch.where(total == 0, torch.ones_like(total), total)


def _layout(module: nn.Module, x: Tensor) -> Tensor:
    if x.dim() == 4 and getattr(module, "_channels_last", False):
        return x.contiguous(memory_format=torch.channels_last)
    return x


def _pool_first(module: nn.Module) -> nn.Module:
    """Swap ReLU, MaxPool2d into MaxPool2d, ReLU: the same values and gradients, a quarter of the ReLU's work."""
    for part in module.modules():
        if type(part) is not nn.Sequential:
            continue
        for i in range(len(part) - 1):
            pool = part[i + 1]
            if type(part[i]) is nn.ReLU and type(pool) is nn.MaxPool2d and not pool.return_indices:
                part[i], part[i + 1] = pool, part[i]
    return module
