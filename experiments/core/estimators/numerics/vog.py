"""Variance of gradients: how much the gradient in the input changes along a training (Agarwal et al. 2022)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from experiments.core.engine.net import Net, clone, private
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.numerics._narrow import narrowed
from experiments.core.estimators.sample_score import Trail

Target = Literal["loss", "logit", "probability"]


def variance_of_gradients(trail: Trail, states: Tensor, target: Target, progress: Progress) -> Tensor:
    """VoG of every sample over the checkpoints `states` [K, size] (Agarwal et al. 2022, Eq. 2 and 3; their code): [n].

    With S_t the gradient in the input at checkpoint t, averaged over an image's channels: the standard deviation of S_t
    over t (with 1/K), averaged over pixels. The paper on incentives prints a root over 1/K alone (section 3); the code
    of Agarwal et al. takes it over the mean square, and so do we.
    Holds the activations of one part of the samples, and K gradients of theirs.
    """
    n, found = len(trail.y), []
    for rows in trail.parts():
        x, y = trail.pair(rows)
        seen = []
        for t, theta in enumerate(states):
            seen.append(maps(trail.net, theta, x, y, target))
            progress(rows.start * len(states) + (t + 1) * (rows.stop - rows.start), n * len(states))
        found.append(spread(torch.stack(seen)))
    return torch.cat(found)


def spread(gradients: Tensor) -> Tensor:
    """Mean over pixels of the standard deviation over checkpoints of [K, m, ...]: [m] float64."""
    return gradients.double().std(0, correction=0).flatten(1).mean(1)


def maps(net: Net, theta: Tensor, x: Tensor, y: Tensor, target: Target) -> Tensor:
    """S_t of x [m, C, H, W], averaged over channels: [m, H, W]; of inputs [m, ...] that are no images as it is."""
    gradient = input_gradients(net, theta, x, y, target)
    return gradient.mean(1) if x.dim() == 4 else gradient


def input_gradients(net: Net, theta: Tensor, x: Tensor, y: Tensor, target: Target) -> Tensor:
    """Gradient of each sample's target in its input, one backward for all: x [m, ...] -> [m, ...].

    In evaluation mode, where no sample's outputs depend on the others.

    Args:
        net: the model. theta: [size] state. x: real inputs. y: [m] labels.
        target: the sample's loss, or the logit or the probability of its label.

    Raises:
        SpecError: the inputs are no numbers that could change a little (tokens).
    """
    if not x.is_floating_point():
        todo = "take methods without: loss, grad_norm, el2n, grand, forgetting"
        raise SpecError("there is no gradient in an input of tokens", "methods", todo)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        outputs = functional_call(private(net.module, narrowed), net.views(theta.detach()), (x,))
        value = _TARGETS[target](net, outputs, y).sum()
    return torch.autograd.grad(value, x)[0]


def _of_label(values: Tensor, y: Tensor) -> Tensor:
    return values.gather(-1, y.unsqueeze(-1)).squeeze(-1)


_TARGETS = {
    "loss": lambda net, outputs, y: net.losses(outputs, y),
    "logit": lambda net, outputs, y: _of_label(outputs, y),
    "probability": lambda net, outputs, y: _of_label(F.softmax(outputs, -1), y),
}


def vog_one_by_one(trail: Trail, target: Target = "loss") -> Tensor:
    """VoG as anybody writes it down: sample by sample, a module with the weights loaded, all gradients kept: [n]."""
    found = []
    for i in range(len(trail.y)):
        seen = []
        for theta in trail.states:
            module = clone(trail.net.module).eval()
            module.load_state_dict({k: v.clone() for k, v in trail.net.views(theta).items()}, strict=False)
            x = trail.x[i : i + 1].clone().requires_grad_()
            value = _TARGETS[target](trail.net, module(x), trail.y[i : i + 1]).sum()
            gradient = torch.autograd.grad(value, x)[0][0]
            seen.append(gradient.mean(0) if gradient.dim() == 3 else gradient)
        s = torch.stack(seen)
        mu = s.mean(0)
        found.append(((s - mu) ** 2).mean(0).sqrt().mean())
    return torch.stack(found)
