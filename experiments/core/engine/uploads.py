"""What the clients of a round hand over, gathered as the pieces of work come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from experiments.core.engine.algorithm import Finished
from experiments.core.engine.remembered import Memory


@dataclass(frozen=True)
class Done:
    """A client's training in the worlds `some` of a piece of work.

    Attributes:
        some: which of the piece's worlds. finished: what is handed over in them.
        model: [size] the base world's local model, if the base world is the first of these.
        sends_model: whether the upload is the local model itself.
    """

    some: slice
    finished: Finished
    model: Tensor | None
    sends_model: bool


class Collected:
    """What a round's clients handed over: the weighted means of all worlds, and the base world's own uploads.

    Args:
        states: [W, size] the states of all worlds.
        memory: what the algorithm remembers; clients' states are written into it.
        clients: K, the participants of the base world.

    Attributes:
        mean: [W, U]. sent: [K, U] uploads of the base world. locals: [K, size] its local models, the same tensor where
            these are what is sent.
    """

    mean: Tensor
    sent: Tensor
    locals: Tensor

    def __init__(self, states: Tensor, memory: Memory, clients: int) -> None:
        self._states, self._memory, self._clients, self._empty = states, memory, clients, True

    def take(
        self, rows: Tensor, worlds: Sequence[int], client: int, index: int, share: Tensor, rest: Tensor, done: Done
    ) -> None:
        """Add one finished piece and write the client's state, for the piece is done for good.

        Args:
            rows: [B] the worlds, on their device; `worlds`: the same numbers. client: k. index: of k among the
                participants. share: [B] its weight in each world; rest: that of what is sent beside the model.
            done: the piece; its upload is overwritten.
        """
        sent = done.finished.sent
        if self._empty:
            self._begin(sent, done.sends_model)
        if done.model is not None:
            self.sent[index] = sent[0]
            if not done.sends_model:
                self.locals[index] = done.model
        size = self._states.shape[1]
        sent[:, :size].mul_(share[:, None])
        sent[:, size:].mul_(rest[:, None])
        self.mean.index_add_(0, rows, sent)
        if done.finished.client is not None:
            self._memory.write(client, worlds, done.finished.client)

    def _begin(self, sent: Tensor, sends_model: bool) -> None:
        self._empty = False
        self.mean = sent.new_zeros(len(self._states), sent.shape[1])
        self.sent = self.locals = sent.new_empty(self._clients, sent.shape[1])
        if not sends_model:
            self.locals = sent.new_empty(self._clients, self._states.shape[1])
