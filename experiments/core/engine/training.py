"""A local step as a function of the whole state: what Eq. 10 of Xue et al. 2021 needs the Jacobian of.

In training a model may compute something else than in evaluation. BatchNorm normalises by its batch, so that no
sample's loss is a function of the weights and that sample alone, and moves its running statistics, which depend on the
weights. Dropout draws.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from types import MethodType

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from experiments.core.engine.draws import drawing
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net, private
from experiments.core.engine.objective import pushed
from experiments.core.errors import SpecError

_Norm = nn.modules.batchnorm._BatchNorm
_WIDTH = 64  # vectors of one pass
_ROUNDINGS = 100  # of the norm of all buffers, below which one of them is nothing
_AGREE = 1e-3  # of the norm: one step in float32 by two ways; two different functions are further apart


@dataclass(frozen=True)
class TrainingNet(Net):
    """A net that computes what training computes, as a function of the whole state, which a call does not change.

    BatchNorm normalises by the batch it is given and notes what it would make of its running statistics; see `moved`.

    Attributes:
        step: the stream of what the model draws, as `draws.step_seed` gives it for a local step.
    """

    step: int = 0

    @classmethod
    def of_net(cls, net: Net) -> TrainingNet:
        """`net` as it is in training, with the same layout of the state."""
        return cls(**{f.name: getattr(net, f.name) for f in fields(net)})

    def at(self, step: int) -> TrainingNet:
        """The same net in another local step."""
        return replace(self, step=step)

    def call(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs of the model with flat state `theta` [size] on the batch x [n, ...], as in training."""
        module = private(self.module, _training)
        for _, part in _norms(module):
            part.seen.clear()  # type: ignore[operator, union-attr]
        tensors = self.views(theta)
        tensors |= {s.name: tensors[s.name].clone() for s in self.buffers}  # some layers overwrite theirs
        with drawing(self.step, theta.device) if self.draws else nullcontext():
            return functional_call(module, tensors, x)

    def moved(self, theta: Tensor, x: Tensor) -> Tensor:
        """Buffers and counters [size - p] after a step from `theta` [size] on the batch x."""
        self.call(theta, x)
        after = {s.name: theta[s.start : s.stop] for s in self.buffers + self.counters}
        for name, part in _norms(private(self.module, _training)):
            for statistics in part.seen:  # type: ignore[union-attr]
                _move(after, f"{name}.".lstrip("."), part.momentum, *statistics)  # type: ignore[arg-type]
        return torch.cat([theta[:0], *after.values()])

    def carried(self, theta: Tensor, x: Tensor, vectors: Tensor) -> Tensor:
        """The Jacobian of `moved` at theta times vectors [size, C]: [size - p, C]."""
        parts = vectors.split(_WIDTH, 1)
        return torch.cat([pushed(lambda state: self.moved(state, x), theta, part) for part in parts]).T

    def sample_gradients(self, theta: Tensor, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Gradients of the losses of samples `rows` [N] of a batch, [N, p], what one does to the others included.

        Their mean over the whole batch is the batch's gradient. With J_i the Jacobian of sample i's outputs, through
        the batch too, J_i^T S_i J_i is the sample's part of the Gauss-Newton matrix, and the outer product of its
        gradient stands for that as in Eq. 14.
        """
        w = theta[: self.p].detach().requires_grad_()
        with torch.enable_grad():
            losses = self.losses(self.call(torch.cat([w, theta[self.p :]]), x), y)[rows]
            unit = torch.eye(len(rows), dtype=theta.dtype, device=theta.device).split(_WIDTH)
            back = [torch.autograd.grad(losses, w, u, retain_graph=True, is_grads_batched=True)[0] for u in unit]
        return torch.cat(back)


def trained_as(
    net: Net,
    formulation: Formulation,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    draws: Callable[[int], int] | None = None,
) -> Net:
    """The net whose `call` is what `formulation` takes its training step with: `net` itself, or its `TrainingNet`.

    Asked of one step from `theta` [size] on the batch x, y, of which `draws(0)` names the stream.

    Raises:
        SpecError: neither is, so that there is no Jacobian of the step.
    """
    training = TrainingNet.of_net(net)
    after = theta[None].clone()
    if draws is not None:
        formulation, training = formulation.at(draws(0)), training.at(draws(0))
    gradient = formulation.gradient(after, x, y, None)[0]
    differs = ""
    for candidate in (net, training):
        differs = _difference(candidate, theta, x, y, gradient, after[0, net.p :])
        if not differs:
            return candidate
    raise SpecError(
        f"Fed-Influence knows no derivative of this model's training step, which makes another {differs}",
        "model",
        "of what moves in training it knows BatchNorm's statistics: use that, or a normalisation without statistics",
    )


def _difference(net: Net, theta: Tensor, x: Tensor, y: Tensor, gradient: Tensor, moved: Tensor) -> str:
    """What differs between the step of `net` and one with this gradient [p] and these buffers [size - p] after it."""

    def loss(w: Tensor) -> Tensor:
        return net.losses(net.call(torch.cat([w, theta[net.p :]]), x), y).mean()

    try:
        if not _close(grad(loss)(theta[: net.p]), gradient):
            return "gradient"
        buffers = net.moved(theta, x) if isinstance(net, TrainingNet) else theta[net.p :]
    except RuntimeError:  # an operation that torch.func cannot transform
        return "gradient"
    # A mean behind another normalisation is zero but for rounding, which no two ways share.
    rounding = _ROUNDINGS * torch.finfo(moved.dtype).eps * float(moved.norm())
    for slot in net.buffers + net.counters:
        part, before = slice(slot.start - net.p, slot.stop - net.p), theta[slot.start : slot.stop]
        # What moves in the last bits only (vectors of a power iteration that has settled) still depends on the weights.
        stays = torch.equal(buffers[part], before) and not torch.equal(moved[part], before)
        nothing = max(float(buffers[part].norm()), float(moved[part].norm())) <= rounding
        if stays or not (nothing or _close(buffers[part], moved[part])):
            return slot.name
    return ""


def _close(value: Tensor, wanted: Tensor) -> bool:
    return bool((value - wanted).norm() <= _AGREE * wanted.norm())


def _training(module: nn.Module) -> nn.Module:
    """`module` in training mode, its BatchNorm layers made of plain operations."""
    for part in module.train().modules():
        if isinstance(part, _Norm) and part.training:
            part.forward = MethodType(_by_batch, part)  # type: ignore[method-assign]
            part.seen = []  # type: ignore[assignment]
    return module


def _norms(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in module.named_modules() if "seen" in vars(part)]


def _by_batch(part: _Norm, x: Tensor) -> Tensor:
    """BatchNorm's forward pass in training by plain operations, which all of PyTorch's transforms know."""
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.dim())]
    mean = x.mean(dims)
    centred = x - mean.view(shape)
    var, count = centred.square().mean(dims), x.numel() // x.shape[1]
    part.seen.append((mean, var * (count / max(1, count - 1))))  # type: ignore[operator, union-attr]
    out = centred * (var + part.eps).rsqrt().view(shape)
    return out if part.weight is None else out * part.weight.view(shape) + part.bias.view(shape)


def _move(after: dict[str, Tensor], prefix: str, momentum: float | None, mean: Tensor, var: Tensor) -> None:
    """Take what a layer has seen of a batch into its statistics: as a share, or (momentum None) as a plain average."""
    counter = f"{prefix}num_batches_tracked"
    if counter in after:
        after[counter] = after[counter].round() + 1
    share = mean.new_tensor(momentum) if momentum is not None else 1 / after[counter]
    for name, new in (("running_mean", mean), ("running_var", var)):
        old = after[f"{prefix}{name}"]
        after[f"{prefix}{name}"] = old + share * (new - old)
