"""Baselines that see no input: how far a client's update reaches, and how well it agrees with the round's."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.scores import similarity


def norm(before: Tensor, locals: Tensor) -> Tensor:
    """Euclidean norm of each client's update theta_k - before: [size], [K, size] -> [K].

    The whole state counts; hand over the first p columns only to leave BatchNorm's statistics out.
    """
    return torch.stack([torch.linalg.vector_norm(own - before) for own in locals])


def cosine(before: Tensor, after: Tensor, locals: Tensor) -> Tensor:
    """Cosine of each client's update theta_k - before with the round's, after - before: [K], in [-1, 1].

    0 where one of the two did not move; NaN where one is not finite. Columns as for `norm`.
    """
    moved = after - before
    values = torch.stack([similarity.cosine(own - before, moved) for own in locals])
    still = torch.stack([(own == before).all() for own in locals]) | (moved == 0).all()
    return torch.where(still, torch.zeros_like(values), values)
