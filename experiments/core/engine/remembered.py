"""What an algorithm remembers of W worlds between rounds: the server's numbers, and those of clients that took part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.algorithm import State

_SMALL = 1 << 14  # numbers of a row; saved one by one, smaller ones take longer than what is in them


class Memory:
    """The state of an algorithm in W worlds.

    A client has numbers of its own in a world once it has taken part there: before, `State.client` is read. A world
    that forks shares the base world's rows until one of the two writes; a row that is written replaces the old one, and
    nothing is written in place.

    Args:
        state: of one world before the first round. worlds: W.

    Attributes:
        server: [W, S].
    """

    def __init__(self, state: State, worlds: int) -> None:
        self.server = state.server.repeat(worlds, 1)
        self._unseen = state.client
        self._rows: list[dict[int, Tensor]] = [{} for _ in range(worlds)]

    def of(self, client: int, worlds: Sequence[int]) -> Tensor:
        """What `client` remembers in B `worlds`: [B, C], not to be changed."""
        rows = [self._rows[world].get(client, self._unseen) for world in worlds]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def write(self, client: int, worlds: Sequence[int], new: Tensor) -> None:
        """Let `client` remember `new` [B, C] in B `worlds`."""
        for world, row in zip(worlds, new.split(1), strict=True):
            self._rows[world][client] = row.clone()

    def fork(self, world: int) -> None:
        """Make `world` remember what the base world (number 0) remembers."""
        self.server[world] = self.server[0]
        self._rows[world] = dict(self._rows[0])

    @property
    def bytes(self) -> int:
        """Bytes of all that is held, shared rows once."""
        return self.server.nbytes + sum(row.nbytes for row in self._distinct())

    def _distinct(self) -> list[Tensor]:
        return list({id(row): row for own in self._rows for row in own.values()}.values())

    def saved(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` continues: rows once each, and which world has which."""
        distinct = self._distinct()
        place = {id(row): i for i, row in enumerate(distinct)}
        places = [{client: place[id(row)] for client, row in own.items()} for own in self._rows]
        joined = distinct and self._unseen.numel() < _SMALL
        return {"server": self.server, "rows": [torch.cat(distinct)] if joined else distinct, "places": places}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `saved` returned for as many worlds."""
        self.server.copy_(saved["server"])
        rows = [row.clone() for block in saved["rows"] for row in block.to(self.server.device).split(1)]
        self._rows = [{client: rows[i] for client, i in own.items()} for own in saved["places"]]
