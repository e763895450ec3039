"""Baselines that see no input: how far a client's update reaches, and how well it agrees with the round's."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(before: Tensor, locals: Tensor) -> Tensor:
    """Euclidean norm of each client's update theta_k - before: [size], [K, size] -> [K].

    The whole state counts; hand over the first p columns only to leave BatchNorm's statistics out.
    """
    return torch.stack([torch.linalg.vector_norm(client - before) for client in locals])


def cosine(before: Tensor, after: Tensor, locals: Tensor) -> Tensor:
    """Cosine of each client's update theta_k - before with the round's, after - before: [K], in [-1, 1].

    0 where one of the two did not move; NaN where one is not finite. Columns as for `norm`.
    """
    moved = after - before
    length = torch.linalg.vector_norm(moved)
    return torch.stack([_cosine(client - before, moved, length) for client in locals])


def _cosine(update: Tensor, moved: Tensor, length: Tensor) -> Tensor:
    """Overwrites `update`, so that a large model is not copied again; 0 where one of the two is zero."""
    reach = torch.linalg.vector_norm(update) * length
    value = (update.mul_(moved).sum() / reach).clamp(-1, 1)
    return torch.where((reach == 0) | (length == 0), torch.zeros_like(value), value)
