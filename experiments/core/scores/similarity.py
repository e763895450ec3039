"""How near a vector is to another: direction and length."""

from __future__ import annotations

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between a and b over the last dimension: [..., p], [..., p] -> [...], in [-1, 1].

    Computed from unit vectors, so that long vectors do not overflow. NaN where one of them is zero or not finite.
    """
    return (_unit(a) * _unit(b)).sum(-1).clamp(-1, 1)


def relative_l2(estimate: Tensor, truth: Tensor) -> Tensor:
    """|estimate - truth| / |truth| over the last dimension: [..., p], [..., p] -> [...].

    0 for a perfect estimate, 1 for an estimate of zero. Where the truth is zero: NaN or infinite.
    """
    return torch.linalg.vector_norm(estimate - truth, dim=-1) / torch.linalg.vector_norm(truth, dim=-1)


def _unit(v: Tensor) -> Tensor:
    largest = v.abs().amax(-1, keepdim=True)
    scaled = v / largest
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
