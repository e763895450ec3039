"""Slow closed forms with explicit p x p matrices: what fast estimators are tested against, Table 1's naive ways."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.core.engine.net import Net
from experiments.core.engine.simulate import Round


def explicit_hessian(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian [p, p] of the mean loss at `theta` [size], by automatic differentiation."""
    fixed = theta[net.p :]

    def mean_loss(w: Tensor) -> Tensor:
        return net.losses(net.call(torch.cat([w, fixed]), x), y).mean()

    return torch.func.hessian(mean_loss)(theta[: net.p])


def explicit_fisher(gradients: Tensor) -> Tensor:
    """(1/Ns) sum_z g g^T, [p, p], of per-sample gradients [Ns, p]."""
    return gradients.T @ gradients / len(gradients)


def keep_blocks(net: Net, matrix: Tensor) -> Tensor:
    """Zero a [p, p] matrix outside the diagonal blocks of each parameter tensor (the layer-wise operation)."""
    blocks = torch.zeros_like(matrix)
    for s in net.params:
        blocks[s.start : s.stop, s.start : s.stop] = matrix[s.start : s.stop, s.start : s.stop]
    return blocks


def transfer_matrix(hessians: Sequence[Tensor], lr: float) -> Tensor:
    """prod_i (I - eta H_i), [p, p]: how a client's local training carries a change of its start (Eq. 8-9)."""
    product = torch.eye(len(hessians[0]), dtype=hessians[0].dtype, device=hessians[0].device)
    for h in hessians:
        product = product - lr * (h @ product)
    return product


def naive1(transfers: Sequence[Tensor], shares: Tensor, change: Tensor) -> Tensor:
    """Sequential influence on the server from uploaded transfer matrices (Table 1, naive 1): [p, C].

    Args:
        transfers: one [p, p] a participant.
        shares: [K, C] n_k / N(C_t minus c), zero for k = c.
        change: [p, C] the FIP of the previous round.
    """
    return torch.stack([(m @ change) * s for m, s in zip(transfers, shares, strict=True)]).sum(0)


def naive2(hessians: Sequence[Sequence[Tensor]], lr: float, shares: Tensor, change: Tensor) -> Tensor:
    """The same from uploaded Hessians [p, p], one a participant and iteration, by matrix-vector products (naive 2)."""
    total = torch.zeros_like(change)
    for blocks, share in zip(hessians, shares, strict=True):
        sequential = change
        for h in blocks:
            sequential = sequential - lr * (h @ sequential)
        total = total + sequential * share
    return total


def literal_update(
    net: Net,
    gradients: Sequence[Sequence[Tensor]],
    record: Round,
    change: dict[int, Tensor],
    flags: dict,
    lwet: str | None,
) -> dict[int, Tensor]:
    """One round of Algorithms 2 to 4 of Xue et al. (2021) as printed: loops over c, tensors, participants, gradients.

    Flags are shared over c and evaluated over all c before anything is updated. `flags` maps (k, j), or (None, j) for
    Algorithm 2, to bool, and is changed in place.

    Args:
        net: the model.
        gradients: [K][m] matrices [Ns, p] of per-sample gradients.
        record: the round of the base world.
        change: client c -> epsilon_{t-1} [p].
        flags: the flag variables so far; missing ones are on.
        lwet: None, "iid" or "noniid".

    Returns:
        Client c -> epsilon_t [p].
    """
    sizes = dict(zip(record.participants, record.sizes.tolist(), strict=True))
    part = [slice(s.start, s.stop) for s in net.params]
    local = {
        (c, k): torch.cat([algorithm3([g[:, r] for g in gradients[a]], record.lr, e[r]) for r in part])
        for c, e in change.items()
        for a, k in enumerate(sizes)
        if k != c
    }
    places = [(k, j) for k in (sizes if lwet == "noniid" else [None]) for j in range(len(net.params))]

    def sequential(c: int, j: int) -> Tensor:
        contributing = [k for k in sizes if k != c and (lwet != "noniid" or flags.get((k, j), True))]
        total = sum(n for k, n in sizes.items() if k != c)
        return sum(
            (local[c, k][part[j]] * (sizes[k] / total) for k in contributing), torch.zeros_like(change[c][part[j]])
        )

    for k, j in places if lwet else []:
        for c, e in change.items():
            new = sequential(c, j) if k is None else local.get((c, k), torch.zeros_like(e))[part[j]]
            if new.norm() > e[part[j]].norm():
                flags[k, j] = False
    result = {}
    for c in change:
        without = _without(record, c)
        tensors = [
            sequential(c, j) if lwet != "iid" or flags.get((None, j), True) else 0 for j in range(len(net.params))
        ]
        result[c] = torch.cat([t + without[p] for t, p in zip(tensors, part, strict=True)])
    return result


def algorithm3(gradients: Sequence[Tensor], lr: float, change: Tensor) -> Tensor:
    """Algorithm 3: local sequential influence on one tensor, gradient by gradient."""
    sigma = change
    for g_set in gradients:
        u = torch.zeros_like(sigma)
        for g in g_set:
            u = u + (g * sigma).sum() * g
        sigma = sigma - lr / len(g_set) * u
    return sigma


def _without(record: Round, c: int) -> Tensor:
    """w_t(C_t minus c) - w_t (Eq. 4)."""
    if c not in record.participants:
        return torch.zeros_like(record.after)
    others = [a for a, k in enumerate(record.participants) if k != c]
    weight = record.sizes[others] / record.sizes[others].sum()
    return (weight[:, None] * record.locals[others]).sum(0) - record.after
