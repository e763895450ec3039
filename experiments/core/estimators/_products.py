"""Inner products of many clients' parameters with many gradients, tensor by tensor, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.engine.net import Net

BLOCK = 1 << 16
"""Columns at a time: a block of a few dozen rows stays in a processor's cache."""


def inner_products(net: Net, theta: Tensor, locals: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """<theta_G, g_i> and <theta_k - theta_G, g_i> for each tensor: g [n, p] -> [n, P] and [n, K, P], float64.

    The difference comes before the product: theta_k and theta_G agree in their leading digits.
    """
    base = torch.zeros(len(net.params), len(g), dtype=torch.float64, device=g.device)
    delta = torch.zeros(len(net.params), len(g), len(locals), dtype=torch.float64, device=g.device)
    for j, slot in enumerate(net.params):
        for a in range(slot.start, slot.stop, BLOCK):
            columns = slice(a, min(a + BLOCK, slot.stop))
            base[j] += g[:, columns] @ theta[columns]
            delta[j] += g[:, columns] @ (locals[:, columns] - theta[columns]).T
    return base.T, delta.permute(1, 2, 0)
