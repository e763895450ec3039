"""Sums of clipped gradients of single samples, and the norms of those gradients: what DP-SGD needs."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.engine.net import Net


def clipped(net: Net, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
    """Sum of clipped gradients of each model, and the norms before clipping (Abadi et al. 2016, algorithm 1).

    With g_s the gradient of sample s's loss in the parameters, dropout off and BatchNorm on its running statistics:
    total_b = sum_s w_bs min(1, clip / ||g_bs||) g_bs.

    Args:
        net: the model.
        theta: [B, size] states.
        x: [n, ...] inputs.
        y: [n] labels, or [n, C] targets for the squared loss.
        weight: [B, n], or None for ones.
        clip: the largest norm of one sample; infinity clips nothing.

    Returns:
        [B, p] sums, and [B, n] norms.
    """
    total, norms = theta.new_zeros(len(theta), net.p), theta.new_zeros(len(theta), len(x))
    for b, state in enumerate(theta.detach()):
        for s in range(len(x)):
            g = _single(net, state, x[s : s + 1], y[s : s + 1])
            norms[b, s] = g.norm()
            w = 1.0 if weight is None else float(weight[b, s])
            total[b].add_(g, alpha=w * min(1.0, clip / max(float(norms[b, s]), 1e-30)))
    return total, norms


def sample_norms(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Norm of the gradient of each sample's loss, without the memory of the gradients: theta [size] -> [n].

    Dropout is off, and BatchNorm uses its running statistics.
    """
    return torch.stack([_single(net, theta.detach(), x[s : s + 1], y[s : s + 1]).norm() for s in range(len(x))])


def _single(net: Net, state: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient [p] of the loss of one sample."""
    leaf = state[: net.p].clone().requires_grad_()
    with torch.enable_grad():
        loss = net.losses(net.call(torch.cat([leaf, state[net.p :]]), x), y).sum()
    return torch.autograd.grad(loss, leaf)[0]
