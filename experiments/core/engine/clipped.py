"""Sums of clipped gradients of single samples, and the norms of those gradients: what DP-SGD needs, for any model.

Three ways compute the same: by layers (one forward and one backward for all samples), vmap over single gradients, and a
loop of single backwards. `sample_plan` finds out once for a model and shape which is right, and how many samples
fit into `sample_plan.MEMORY` at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.core.engine.layered import NotLayeredError, samples
from experiments.core.engine.net import Net
from experiments.core.engine.sample_plan import Plan, plan_of
from experiments.core.engine.sample_trial import by_vmap, single_gradient


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
        [B, p] sums, and [B, n] norms; 0 where a sample of weight 0 was passed over, as a CPU does.
    """
    theta = theta.detach()
    total, norms = theta.new_zeros(len(theta), net.p), theta.new_zeros(len(theta), len(x))
    plan = plan_of(net, theta, x, y)
    for b, state in enumerate(theta):
        for rows in plan.chunks(len(x)):
            chosen = rows if weight is None else _counting(weight[b], rows)
            share = None if weight is None else weight[b, chosen]
            norms[b, chosen] = _add_clipped(
                total[b], plan, net, state, plan.laid_out(x[chosen]), y[chosen], share, clip
            )
    return total, norms


def sample_norms(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Norm of the gradient of each sample's loss, without the memory of the gradients: theta [size] -> [n].

    Dropout is off, and BatchNorm uses its running statistics.
    """
    theta = theta.detach()
    plan = plan_of(net, theta.unsqueeze(0), x, y)
    chunks = plan.chunks(len(x))
    parts = [_norms(plan, net, theta, plan.laid_out(x[rows]), y[rows]) for rows in chunks]
    return torch.cat(parts) if parts else theta.new_zeros(0)


def _add_clipped(
    out: Tensor, plan: Plan, net: Net, state: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float
) -> Tensor:
    """Add the clipped sum of some samples to out [p]; their norms."""
    if plan.way == "layered" and len(x):
        try:
            found = samples(net, state, x, y)
        except NotLayeredError:  # a module may take another path for other samples
            pass
        else:
            norms = found.norms(state)
            found.add_to(out, clipping(norms, weight, clip))
            return norms
    each: list[Tensor] = []
    for first, rows in _written(plan, net, state, x, y):
        each.append(torch.linalg.vector_norm(rows, dim=1))
        share = None if weight is None else weight[first : first + len(rows)]
        out += clipping(each[-1], share, clip) @ rows
    return torch.cat(each) if each else state.new_zeros(0)


def clipping(norms: Tensor, weight: Tensor | None, clip: float) -> Tensor:
    """w_s min(1, clip / ||g_s||) from the norms [..., n] and weights of the same shape, or None for ones."""
    scale = torch.where(norms > clip, clip / norms, torch.ones_like(norms))
    return scale if weight is None else scale * weight.to(scale)


def _counting(weight: Tensor, rows: slice) -> slice | Tensor:
    """The rows whose weight is not zero; on a GPU all of them, for it would have to be asked."""
    if weight.is_cuda or bool((weight[rows] != 0).all()):
        return rows
    return rows.start + weight[rows].nonzero().flatten()


def _norms(plan: Plan, net: Net, state: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if plan.way == "layered":
        try:
            return samples(net, state, x, y, sums=False).norms(state)
        except NotLayeredError:  # as above
            pass
    return torch.cat([torch.linalg.vector_norm(g, dim=1) for _, g in _written(plan, net, state, x, y)])


def _written(plan: Plan, net: Net, state: Tensor, x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Gradients [m, p] of some samples after another, and the number of the first."""
    if plan.way == "vmapped" and len(x):
        yield 0, by_vmap(net, state, x, y)
        return
    for s in range(len(x)):
        yield s, single_gradient(net, state, x[s : s + 1], y[s : s + 1]).unsqueeze(0)
