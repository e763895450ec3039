"""A local step as a function of the whole state: what Eq. 10 of Xue et al. 2021 needs the Jacobian of.

In training a model may compute something else than in evaluation: BatchNorm normalises by its batch, so that no sample's
loss is a function of the weights and that sample alone, and moves its running statistics, which depend on the weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import MethodType

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net, _private
from experiments.core.engine.objective import batched
from experiments.core.errors import SpecError

_Norm = nn.modules.batchnorm._BatchNorm
_WIDTH = 64  # vectors of one pass
_AGREE = 1e-3  # of the norm: one step in float32 by two ways; two different functions are further apart


@dataclass(frozen=True)
class TrainingNet(Net):
    """A net that always computes what training computes; a function of the whole state, which a call does not change.

    BatchNorm normalises by the batch it is given and notes what it would make of its running statistics; see `moved`.
    """

    @classmethod
    def twin(cls, net: Net) -> TrainingNet:
        """`net` as it is in training, with the same layout of the state."""
        module = copy.deepcopy(net.module).train()
        for part in module.modules():
            if isinstance(part, _Norm) and part.training:
                part.forward = MethodType(_by_batch, part)  # type: ignore[method-assign]
                part.seen = []  # type: ignore[assignment]
        return cls(module, net.loss, net.params, net.buffers)

    def call(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs of the model with flat state `theta` [size] on the batch x [n, ...], as in training."""
        module = _private(self.module)
        for part in module.modules():
            if "seen" in vars(part):
                part.seen.clear()  # type: ignore[operator, union-attr]
        return functional_call(module, self.views(theta), x)

    def moved(self, theta: Tensor, x: Tensor) -> Tensor:
        """The state's buffers [size - p] after a step from `theta` on the batch x."""
        self.call(theta, x)
        held = self.views(theta)
        for name, part in _private(self.module).named_modules():
            if "seen" in vars(part) and part.track_running_stats:
                _move(held, f"{name}." if name else "", part)
        return torch.cat([theta[:0], *(held[slot.name].reshape(-1) for slot in self.buffers)])

    def carried(self, theta: Tensor, x: Tensor, vectors: Tensor) -> Tensor:
        """The Jacobian of `moved` at theta times vectors [size, C]: [size - p, C]."""
        columns = [vectors[:, a : a + _WIDTH] for a in range(0, vectors.shape[1], _WIDTH)]
        push = lambda v: jvp(lambda s: self.moved(s, x), (theta,), (v,))[1]  # noqa: E731
        return torch.cat([batched(push, some) for some in columns]).T

    def sample_gradients(self, theta: Tensor, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Gradients of the losses of samples `rows` [N] of a batch, [N, p]: what one does to the others is in them.

        Their mean over all rows is the gradient of the batch. J_i^T J_i with the Jacobian J_i of sample i's outputs so
        keeps its meaning in the Gauss-Newton matrix, and the outer products (Eq. 14) theirs.
        """
        w = theta[: self.p].detach().requires_grad_()
        with torch.enable_grad():
            losses = self.losses(self.call(torch.cat([w, theta[self.p :]]), x), y)[rows]
            unit = torch.eye(len(rows), dtype=theta.dtype, device=theta.device)
            parts = [
                torch.autograd.grad(losses, w, u, retain_graph=True, is_grads_batched=True)[0]
                for u in unit.split(_WIDTH)
            ]
        return torch.cat(parts)


def trained_as(net: Net, formulation: Formulation, theta: Tensor, x: Tensor, y: Tensor) -> Net:
    """The net whose `call` is what `formulation` takes its training step with: `net` itself, or its `TrainingNet`.

    Asked of one step from `theta` [size] on the batch x, y.

    Raises:
        SpecError: neither is, so that there is no Jacobian of the step.
    """
    after = theta[None].clone()
    step = formulation.gradient(after, x, y, None)[0], after[0, net.p :]
    differs = ""
    for candidate in (net, TrainingNet.twin(net)):
        differs = _difference(candidate, theta, x, y, *step)
        if not differs:
            return candidate
    raise SpecError(
        f"Fed-Influence has no derivative of this model's training step: another value of {differs}",
        "model",
        "of what a model moves or draws in training only BatchNorm's statistics are known; use another layer",
    )


def _difference(net: Net, theta: Tensor, x: Tensor, y: Tensor, gradient: Tensor, moved: Tensor) -> str:
    """What differs between the step of `net` and one with this gradient [p] and these buffers [size - p] after it."""

    def loss(w: Tensor) -> Tensor:
        return net.losses(net.call(torch.cat([w, theta[net.p :]]), x), y).mean()

    if not _close(grad(loss)(theta[: net.p]), gradient):
        return "the gradient"
    found = net.moved(theta, x) if isinstance(net, TrainingNet) else theta[net.p :]
    for slot in net.buffers:
        place = slice(slot.start - net.p, slot.stop - net.p)
        if not _close(found[place], moved[place]):
            return slot.name
    return ""


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).norm() <= _AGREE * wanted.norm())


def _by_batch(part: _Norm, x: Tensor) -> Tensor:
    """BatchNorm's forward pass in training from plain operations, which all of PyTorch's derivatives know."""
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.dim())]
    mean = x.mean(dims)
    centred = x - mean.view(shape)
    var = centred.square().mean(dims)
    count = x.numel() / x.shape[1]
    part.seen.append((mean, var * (count / (count - 1))))  # type: ignore[operator, union-attr]
    out = centred * (var + part.eps).rsqrt().view(shape)
    return out if part.weight is None else out * part.weight.view(shape) + part.bias.view(shape)


def _move(held: dict[str, Tensor], prefix: str, part: nn.Module) -> None:
    """Take into the statistics of one layer what it has seen in a call."""
    for mean, var in part.seen:  # type: ignore[union-attr]
        for name, new in (("running_mean", mean), ("running_var", var)):
            held[prefix + name] = torch.lerp(held[prefix + name], new, part.momentum)  # type: ignore[arg-type]
