"""The data of a federation as the engine sees it: clients one after another, no padding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from experiments.core.names import positions


@dataclass(frozen=True)
class Federation:
    """Training data of K clients laid end to end, and one pooled test set.

    Attributes:
        x: [N, ...] training inputs, real numbers or integer ids; client k owns rows offsets[k]:offsets[k+1].
        y: [N] integer labels (or [N, classes] real targets for the squared loss: one-hot labels, or numbers [N, 1]).
        offsets: K + 1 row numbers, strictly increasing (no client is empty).
        test_x, test_y: the pooled test set.
        clients: the K names of the clients (writer ids and the like), each once.
        classes: number of outputs of a model for this data.
        name: the data set's name as it appears in results.
        scale: mean and deviation of each channel by which images of 0..1 were shifted and scaled, if they were.
        test_from, own_tests, notes: how the test set was made, whether out of these clients' own samples, and what else
            a user should know of the data; see `experiments.core.data.pool.Pool`.
    """

    x: Tensor
    y: Tensor
    offsets: tuple[int, ...]
    test_x: Tensor
    test_y: Tensor
    clients: tuple[str, ...]
    classes: int
    name: str
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    test_from: str = ""
    own_tests: bool = False
    notes: tuple[str, ...] = ()

    @property
    def predicts_numbers(self) -> bool:
        """Whether `y` are numbers to predict and no classes: accuracy has no meaning then."""
        return self.classes == 1

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """n_k, the number of training samples of each client."""
        return tuple(b - a for a, b in zip(self.offsets, self.offsets[1:], strict=False))

    def positions(self, words: Iterable[str], where: str) -> tuple[int, ...]:
        """The clients k that `words` name: by name, or else by position as "#k". See `names.positions`.

        Raises:
            SpecError: an unknown client, or one that is named twice.
        """
        return positions(words, self.clients, where)

    def label_counts(self) -> Tensor:
        """[K, classes] int64 training samples of each label at each client, on the CPU; of one-hot targets, too."""
        labels = (self.y if self.y.dim() == 1 else self.y.argmax(1)).cpu()
        owner = torch.repeat_interleave(torch.tensor(self.sizes))
        pairs = torch.bincount(owner * self.classes + labels, minlength=len(self.sizes) * self.classes)
        return pairs.reshape(len(self.sizes), self.classes)

    def of(self, client: int) -> tuple[Tensor, Tensor]:
        """Views of client k's samples: x [n_k, ...], y [n_k]."""
        rows = slice(self.offsets[client], self.offsets[client + 1])
        return self.x[rows], self.y[rows]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Federation:
        """The same federation on `device`, real inputs and targets as `dtype`; ids and labels stay integers."""

        def moved(values: Tensor) -> Tensor:
            return values.to(device, dtype) if values.is_floating_point() else values.to(device)

        return replace(self, x=moved(self.x), y=moved(self.y), test_x=moved(self.test_x), test_y=moved(self.test_y))
