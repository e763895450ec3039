"""How long a run will still take: the estimated work of its cells, at the speed seen so far."""

from __future__ import annotations

import time
from collections.abc import Mapping

_NEARLY = 0.95
"""The most of a cell that is taken for done before it ends: it may have further phases."""


class Left:
    """The time left of all cells together.

    Args:
        work: cell -> estimated seconds. Where one is unknown (0) all count alike, and no time is told before the first
            progress.
    """

    def __init__(self, work: Mapping[str, float]) -> None:
        self._known = bool(work) and all(seconds > 0 for seconds in work.values())
        self._ahead = dict(work) if self._known else dict.fromkeys(work, 1.0)
        self._behind, self._spent = 0.0, 0.0
        self._cell, self._share, self._began = "", 0.0, time.monotonic()

    def start(self, cell: str) -> None:
        """A cell begins."""
        self._cell, self._share, self._began = cell, 0.0, time.monotonic()

    def progress(self, done: int, total: int) -> None:
        """So much of a phase of the cell is done."""
        self._share = max(self._share, min(done / max(1, total), _NEARLY))

    def end(self, computed: bool) -> None:
        """The cell is over; `computed`: it was computed here, and its time says something of the others'."""
        work = self._ahead.pop(self._cell, 0.0)
        if computed:
            self._behind += work
            self._spent += time.monotonic() - self._began
        self._cell, self._share = "", 0.0

    def seconds(self) -> float | None:
        """Estimated seconds left, None while nothing is known."""
        here = self._share * self._ahead.get(self._cell, 0.0)
        behind = self._behind + here
        spent = self._spent + (time.monotonic() - self._began if self._cell else 0.0)
        if behind <= 0 and not self._known:
            return None
        speed = spent / behind if behind > 0 and spent > 0 else 1.0
        return (sum(self._ahead.values()) - here) * speed
