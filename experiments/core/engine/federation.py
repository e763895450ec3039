"""The data of a federation as the engine sees it: clients one after another, no padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Federation:
    """Training data of K clients laid end to end, and one pooled test set.

    Attributes:
        x: [N, ...] training inputs; client k owns rows offsets[k]:offsets[k+1].
        y: [N] integer labels (or [N, classes] real targets for the squared loss).
        offsets: K + 1 row numbers, strictly increasing (no client is empty).
        test_x, test_y: the pooled test set.
        clients: the K names of the clients (writer ids and the like).
        classes: number of outputs of a model for this data.
        name: the data set's name as it appears in results.
    """

    x: Tensor
    y: Tensor
    offsets: tuple[int, ...]
    test_x: Tensor
    test_y: Tensor
    clients: tuple[str, ...]
    classes: int
    name: str

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """n_k, the number of training samples of each client."""
        return tuple(b - a for a, b in zip(self.offsets, self.offsets[1:], strict=False))

    def of(self, client: int) -> tuple[Tensor, Tensor]:
        """Views of client k's samples: x [n_k, ...], y [n_k]."""
        rows = slice(self.offsets[client], self.offsets[client + 1])
        return self.x[rows], self.y[rows]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Federation:
        """The same federation on `device`, inputs (and real targets) as `dtype`."""

        def target(y: Tensor) -> Tensor:
            return y.to(device, dtype) if y.is_floating_point() else y.to(device)

        return Federation(
            self.x.to(device, dtype),
            target(self.y),
            self.offsets,
            self.test_x.to(device, dtype),
            target(self.test_y),
            self.clients,
            self.classes,
            self.name,
        )
