"""All models at once through torch.func.vmap: any module that vmap can batch."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._common import sample_scale
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net, clone


class Vmapped(Formulation):
    """vmap over the forward pass, one ordinary backward for the sum of the models' losses.

    The models are independent, so the gradient of the sum is the stack of their gradients.
    """

    name = "vmapped"

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._looped = Looped(net)
        self._local = threading.local()

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """Which modules vmap can batch is found out by trying (see `calibrate`)."""
        return True

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`. BatchNorm with left-out samples goes one model after another."""
        moves = self.net.buffers + self.net.counters
        if weight is not None and moves and bool((weight == 0).any()):
            return self._looped.gradient(theta, x, y, weight)
        leaf = theta.detach()[:, : self.net.p].requires_grad_(True)
        state = torch.cat([leaf, theta.detach()[:, self.net.p :]], 1) if moves else leaf
        tensors = self.net.views(state)
        for slot in self.net.buffers:
            tensors[slot.name] = theta[:, slot.start : slot.stop].reshape(-1, *slot.shape).clone()
        outputs = self._forward(tensors, x, training=not self.net.still)
        loss = (self.net.losses(outputs, y) * sample_scale(weight, len(x), outputs)).sum()
        (grad,) = torch.autograd.grad(loss, leaf)
        for slot in moves:
            theta[:, slot.start : slot.stop] = tensors[slot.name].reshape(len(theta), -1)
        return grad

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        with torch.no_grad():
            return self._forward(self.net.views(theta), x, training=False)

    def _forward(self, tensors: dict[str, Tensor], x: Tensor, training: bool) -> Tensor:
        """[B, n, C]. Integer buffers are passed as copies, for the module must not count batches in the template."""
        module = self._module(training)
        count = len(next(iter(tensors.values())))
        for name, buffer in module.named_buffers():
            if name not in tensors:
                tensors[name] = buffer.to(x.device).expand(count, *buffer.shape).clone()
        return vmap(lambda t: functional_call(module, t, (x,)))(tensors)

    def _module(self, training: bool) -> nn.Module:
        """The calling thread's copy: functional_call and train() both change the module they work on."""
        if not hasattr(self._local, "module"):
            self._local.module = clone(self.net.module)
        return self._local.module.train(training)
