"""All models at once through torch.func.vmap: any module that vmap can batch."""

from __future__ import annotations

import threading
from itertools import product

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from experiments.core.engine.clipped import clipping
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._common import sample_scale
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net, clone
from experiments.core.engine.sample_plan import SMALL
from experiments.core.engine.sample_trial import by_vmap

_WRITTEN = 4 << 20
"""Bytes of gradients written out at once."""


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

    def clipped(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
        """See `Formulation.clipped`. Small models: gradients written out, of some models and samples at a time."""
        if self.net.p > SMALL:
            return super().clipped(theta, x, y, weight, clip)
        total, norms = theta.new_zeros(len(theta), self.net.p), theta.new_zeros(len(theta), len(x))
        room = max(1, _WRITTEN // (self.net.p * theta.element_size()))
        some, many = min(room, len(x)), max(1, room // max(1, len(x)))
        for a, s in product(range(0, len(theta), many), range(0, len(x), max(1, some))):
            models, rows = slice(a, a + many), slice(s, s + some)
            gradients = vmap(lambda state, rows=rows: by_vmap(self.net, state, x[rows], y[rows]))(theta[models])
            norms[models, rows] = torch.linalg.vector_norm(gradients, dim=2)
            share = None if weight is None else weight[models, rows]
            factor = clipping(norms[models, rows], share, clip)
            total[models] += torch.bmm(factor.unsqueeze(1), gradients).squeeze(1)
        return total, norms

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
