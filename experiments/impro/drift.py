"""How far the local models of a round have moved apart: weight divergence, whole and tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.net import Slot


def squared_distances(locals_: Tensor, sizes: Tensor, slots: Sequence[Slot]) -> Tensor:
    """Squared L2 distances of local models from their mean weighted by samples, tensor by tensor: [K, tensors].

    Args:
        locals_: [K, size] local states. sizes: [K] samples of each. slots: the tensors to look at.

    In float64: differences of nearly equal weights.
    """
    import torch

    share = (sizes / sizes.sum()).double()
    parts = []
    for slot in slots:
        part = locals_[:, slot.start : slot.stop].double()
        parts.append((part - share @ part).square().sum(1))
    return torch.stack(parts, 1)


def divergence(squared: Tensor) -> float:
    """Mean over participants of the distance over all tensors, from `squared_distances` [K, tensors] (Fig. 2b)."""
    return float(squared.sum(1).sqrt().mean())


def by_tensor(squared: Tensor) -> list[float]:
    """Mean over participants of the distance in each tensor (Fig. 3, 9)."""
    return [float(value) for value in squared.sqrt().mean(0)]
