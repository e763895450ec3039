"""The global model after chosen rounds, each in a file of its own, so that a kill loses none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.simulate import Round
from experiments.core.sealed import set_aside


class Checkpoints:
    """An observer that keeps the state after each of `rounds`.

    Args:
        rounds: which rounds' states are kept. file: round -> where its state is stored.
    """

    needs_iterates = False

    def __init__(self, rounds: Sequence[int], file: Callable[[int], Checkpoint]) -> None:
        self._rounds, self._file = frozenset(rounds), file
        self._states: dict[int, Tensor] = {}

    def observe(self, record: Round) -> None:
        """Keep the state of this round, if it is one of those."""
        if record.index in self._rounds:
            self._states[record.index] = record.after.cpu().clone()
            self._file(record.index).save({"state": self._states[record.index]})

    def of(self, rounds: Sequence[int], like: Tensor) -> Tensor:
        """[K, size] the states after `rounds`, where `like` lies."""
        return torch.stack([self._states[t] for t in rounds]).to(like)

    def state(self) -> dict[str, Any]:
        """For the checkpoint: which rounds have a file."""
        return {"kept": sorted(self._states)}

    def restore(self, state: dict[str, Any]) -> None:
        """From the checkpoint; `verify` has said that the files are there."""
        for t in state["kept"]:
            content = self._file(t).load()
            assert content is not None
            self._states[t] = content["state"]

    def verify(self, training: Checkpoint, place: int) -> None:
        """Set the checkpoint of the training aside where a state that it counts on is damaged or gone.

        Args:
            place: of this observer among those of the training.
        """
        content = training.load()
        kept = content["observers"][place]["kept"] if content is not None else []
        if any(self._file(t).load() is None for t in kept):
            aside = set_aside(training.path)
            training.warn(f"a kept state is damaged: {training.path.name} set aside as {aside}, trained anew")
