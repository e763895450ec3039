"""Whether the client that a method names is one of those that could be responsible (Gill et al. 2025, section V)."""

from __future__ import annotations

import torch
from torch import Tensor


def localized(scores: Tensor, right: Tensor) -> Tensor:
    """Whether the client of highest score is a right one: scores [n, K], right [n, K] bool -> [n] bool.

    The first of equal scores counts. A row with NaN names nobody. The localization accuracy is the mean, times 100.

    Raises:
        ValueError: the two differ in shape.
    """
    if scores.shape != right.shape or scores.dim() != 2:
        raise ValueError(f"scores of shape {tuple(scores.shape)}, right of shape {tuple(right.shape)}")
    top = scores.argmax(1, keepdim=True)
    return right.gather(1, top).squeeze(1) & ~scores.isnan().any(1)


def chance(right: Tensor) -> Tensor:
    """The probability that a client drawn at random is a right one: [n, K] bool -> [n] float64, in [0, 1]."""
    return right.double().mean(1)


def rank(scores: Tensor, client: Tensor) -> Tensor:
    """Rank of one client of each row, 1 for the highest score, ties at their mean: [n, K], [n] -> [n] float64.

    NaN where the row holds NaN.
    """
    score = scores.gather(1, client[:, None])
    above, level = (scores > score).sum(1), (scores == score).sum(1)
    ranks = above.double() + (level.double() + 1) / 2
    return torch.where(scores.isnan().any(1), torch.nan, ranks)
