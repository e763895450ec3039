"""The generalised Gauss-Newton matrix J^T S J written out (Schraudolph 2002): the Hessian's positive part."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import vjp, vmap

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.estimators.numerics._layers import Traced, chunks, weighted_rows

_PIECES = 4
_ROWS = 1 << 28  # bytes of Jacobian rows held at once


def ggn(objective: Objective, theta: Tensor) -> Tensor:
    """(1/n) sum_i J_i^T S_i J_i of the mean loss at theta [size], without the penalty: [p, p].

    J_i is the Jacobian of sample i's outputs, S_i the loss's Hessian in them. Its root times J_i takes C backward
    passes for all samples of a chunk; the products are accumulated for one triangle only.
    """
    p, n = objective.net.p, objective.n
    with torch.no_grad():
        classes = objective.net.call(theta, objective.x[:1]).shape[1]
    size = max(1, min(n, _ROWS // (classes * p * theta.element_size())))
    rows = theta.new_empty(classes, size, p)
    total = theta.new_zeros(p, p)
    write = _writer(objective.net)
    for part in chunks(n, size):
        count = part.stop - part.start
        for inner in chunks(count, objective.chunk):
            x = objective.x[part][inner]
            write(theta, x, rows[:, inner])
        _accumulate(total, rows[:, :count].reshape(-1, p))
    return _mirrored(total) / n


def _writer(net: Net) -> Callable[[Tensor, Tensor, Tensor], None]:
    """The function (theta, x [n, ...], out [C, n, p]) that writes S^(1/2) J: by layers, or by vmap where unknown."""
    try:
        traced = Traced(net)
    except ValueError:
        return lambda theta, x, out: _by_vmap(net, theta, x, out)

    def by_layers(theta: Tensor, x: Tensor, out: Tensor) -> None:
        try:
            steps, outputs = traced.forward(theta, x)
        except ValueError:
            _by_vmap(net, theta, x, out)
            return
        heads = [step.above for step in steps]
        for c, seed in enumerate(roots(net, outputs.detach())):
            deltas = torch.autograd.grad(outputs, heads, seed, retain_graph=True)
            weighted_rows(traced, theta, steps, deltas, out[c])

    return by_layers


def _by_vmap(net: Net, theta: Tensor, x: Tensor, out: Tensor) -> None:
    fixed = theta[net.p :]

    def pulled(sample: Tensor) -> Tensor:
        output_and_pullback = vjp(lambda w: net.call(torch.cat([w, fixed]), sample[None]), theta[: net.p])
        return torch.stack([output_and_pullback[1](seed)[0] for seed in roots(net, output_and_pullback[0])])

    out.copy_(vmap(pulled)(x).transpose(0, 1))


def roots(net: Net, outputs: Tensor) -> list[Tensor]:
    """Vectors r_c, one [n, C] each, with sum_c r_c r_c^T = S: the loss's Hessian in the outputs [n, C].

    Cross-entropy: r_c = sqrt(q_c) (e_c - q), q = softmax(outputs); squared loss: the unit vectors.
    """
    unit = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
    if net.loss == "squared":
        return [row.expand(outputs.shape) for row in unit]
    q = outputs.softmax(-1)
    return [q[:, c : c + 1].sqrt() * (unit[c] - q) for c in range(outputs.shape[1])]


def _accumulate(total: Tensor, rows: Tensor) -> None:
    """Add to `total`: rows^T rows, upper block triangle only."""
    p = rows.shape[1]
    edges = [p * k // _PIECES for k in range(_PIECES + 1)]
    for a, b in pairwise(edges):
        total[a:b, a:].addmm_(rows[:, a:b].T, rows[:, a:])


def _mirrored(total: Tensor) -> Tensor:
    upper = total.triu()
    return upper + upper.triu(1).T
