"""What counts in a round of many worlds: samples of a client, and clients in the average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.core.engine.federation import Federation
from experiments.core.engine.worlds import World


def counts_of(federation: Federation, live: Sequence[World], t: int, drawn: Sequence[int]) -> Tensor:
    """[live worlds, K] the samples that each participant trains on; 0 where it is left out."""
    counts = torch.zeros(len(live), len(drawn), dtype=torch.float64)
    full = torch.tensor([federation.sizes[k] for k in drawn], dtype=torch.float64)
    for row, world in enumerate(live):
        counts[row] = full
        if t >= world.since and world.clients:
            counts[row, [index for index, k in enumerate(drawn) if k in world.clients]] = 0
        for index, k in enumerate(drawn) if world.samples else ():
            gone = sum(federation.offsets[k] <= s < federation.offsets[k + 1] for s in world.samples)
            counts[row, index] = (counts[row, index] - gone).clamp(min=0)
    return counts


def shares_of(counts: Tensor, weighting: str) -> Tensor:
    """[live worlds, K] aggregation weights over who is left, n_k / N (Eq. 4) or 1 / K; zeros where nobody is."""
    weights = {"samples": counts, "clients": (counts > 0).double()}[weighting]
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


def sample_weights(federation: Federation, client: int, worlds: Sequence[World], like: Tensor) -> Tensor | None:
    """[B, n] sample weights of one piece of work; None when no world leaves out a sample of this client."""
    a, b = federation.offsets[client], federation.offsets[client + 1]
    if not any(a <= s < b for world in worlds for s in world.samples):
        return None
    weight = like.new_ones(len(worlds), b - a)
    for row, world in enumerate(worlds):
        weight[row, [s - a for s in world.samples if a <= s < b]] = 0
    return weight
