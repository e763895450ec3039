"""The slow, exact twin of `plis`: a second backward through the norm of each sample's gradient, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.engine.net import Net


def double_backward(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """d/dx of ||grad_theta loss(x, y)||^2 of each sample (Mueller et al. 2022; Eq. 4 with sigma = 1), one by one.

    Args:
        net: the model, in evaluation mode. theta: [size] state. x: [n, ...] real inputs. y: [n] labels.

    Returns:
        [n, ...] as x.
    """
    return torch.stack([_of_one(net, theta.detach(), *one) for one in zip(x.split(1), y.split(1), strict=True)])


def _of_one(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(squared_norm(net, theta, x, y), x, materialize_grads=True)[0][0]


def squared_norm(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """||grad_theta loss(x, y)||^2 of one sample x [1, ...], with its graph."""
    parameters = theta[: net.p].clone().requires_grad_()
    with torch.enable_grad():
        outputs = net.call(torch.cat([parameters, theta[net.p :]]), x)
        gradient = torch.autograd.grad(net.losses(outputs, y).sum(), parameters, create_graph=True)[0]
        return gradient.square().sum()
