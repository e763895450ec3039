"""What is known of the gradients of single samples in one tensor: their squared norms, and then one weighted sum.

Gradients are written out, or, where they would be large, never made (ghost norms: Goodfellow 2015; Li et al. 2022).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WRITING = 40
"""Multiplications that cost as much as one number of a gradient written out, read for its norm and for the sum.

Measured on one core: 64 to 512 channels, 3x3, and matrices after 8 to 128 places."""


class Part(ABC):
    """The gradients of n samples in one tensor."""

    @property
    @abstractmethod
    def squares(self) -> Tensor:
        """Their squared norms, [n]."""

    @property
    def nbytes(self) -> int:
        """Bytes of gradients written out."""
        return 0

    @abstractmethod
    def total(self, factor: Tensor) -> Tensor:
        """sum_s factor_s g_s in the tensor's shape or flat; factor [n]."""

    @abstractmethod
    def each(self) -> Tensor:
        """All of them, [n, numel]."""


@dataclass(frozen=True)
class Rows(Part):
    """Gradients written out, [n, numel]; their squared norms where they are known already."""

    rows: Tensor
    known: Tensor | None = None

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        return torch.linalg.vector_norm(self.rows, dim=1).square_() if self.known is None else self.known

    @property
    def nbytes(self) -> int:
        """See `Part`."""
        return self.rows.nbytes

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        return factor @ self.rows

    def each(self) -> Tensor:
        """See `Part`."""
        return self.rows


@dataclass(frozen=True)
class Pairs(Part):
    """Gradients sum_t left_t right_t^T of a matrix, by products of pairs of places: left [n, T, O], right [n, T, D]."""

    left: Tensor
    right: Tensor

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        if self.left.shape[1] == 1:
            a, b = (torch.linalg.vector_norm(t, dim=(1, 2)) for t in (self.left, self.right))
            return (a * b).square_()
        products = (torch.bmm(t, t.transpose(1, 2)) for t in (self.left, self.right))
        return (next(products) * next(products)).sum((1, 2)).clamp_(min=0)

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        left = self.left * factor.view(-1, 1, 1)
        return left.flatten(0, 1).t() @ self.right.flatten(0, 1)

    def each(self) -> Tensor:
        """See `Part`."""
        return torch.bmm(self.left.transpose(1, 2), self.right).flatten(1)


@dataclass(frozen=True)
class Picked(Part):
    """Gradients of an embedding: only the rows of the ids that a sample has. g [n, T, E], ids [n, T]."""

    layer: nn.Embedding
    ids: Tensor
    g: Tensor

    @property
    def squares(self) -> Tensor:
        """See `Part`."""
        same = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).to(self.g)
        if self.layer.padding_idx is not None:
            same *= (self.ids != self.layer.padding_idx).unsqueeze(1)
        return (same * torch.bmm(self.g, self.g.transpose(1, 2))).sum((1, 2)).clamp_(min=0)

    def total(self, factor: Tensor) -> Tensor:
        """See `Part`."""
        g, ids = (self.g * spread(factor, self.g)).flatten(0, 1), self.ids.flatten()
        if self.layer.padding_idx is not None:
            g = g * (ids != self.layer.padding_idx).unsqueeze(1)
        return g.new_zeros(self.layer.num_embeddings, g.shape[1]).index_add_(0, ids, g)

    def each(self) -> Tensor:
        """See `Part`."""
        return torch.stack([self.total(unit).flatten() for unit in torch.eye(len(self.g)).to(self.g)])


def spread(factor: Tensor, g: Tensor) -> Tensor:
    """Factors [n] as [n, 1, ...], to multiply g [n, ...]."""
    return factor.view(-1, *[1] * (g.dim() - 1))
