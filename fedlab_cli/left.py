"""How long a run will still take: the estimated work of its cells, at the speed seen so far."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Left:
    """The time left of all cells together.

    A cell goes through phases, of which only the one under way is seen: what is left of it stands for the cell.

    Args:
        work: cell -> estimated seconds. Where one is unknown (0) all count alike, and no time is told before the first
            progress.
    """

    def __init__(self, work: Mapping[str, float]) -> None:
        self._known = bool(work) and all(seconds > 0 for seconds in work.values())
        self._ahead = dict(work) if self._known else dict.fromkeys(work, 1.0)
        self._behind, self._spent = 0.0, 0.0
        self.start("")

    def start(self, cell: str) -> None:
        """A cell begins."""
        self._cell, self._began = cell, time.monotonic()
        self._phase, self._share, self._seen = "", 0.0, self._began
        self._since = self._first = (self._began, 0.0)

    def progress(self, phase: str, done: int, total: int) -> None:
        """So much of a phase of the cell is done."""
        before, self._share, self._seen = self._seen, done / max(1, total), time.monotonic()
        if phase != self._phase:
            self._phase, self._since, self._first = phase, (before, 0.0), (self._seen, self._share)

    def end(self, computed: bool) -> None:
        """The cell is over; `computed`: it was computed here, and its time says something of the others'."""
        work = self._ahead.pop(self._cell, 0.0)
        if computed:
            self._behind += work
            self._spent += time.monotonic() - self._began
        self.start("")

    def seconds(self) -> float | None:
        """Estimated seconds left, None while nothing is known."""
        if not self._ahead or not (self._known or self._behind or self._share):
            return None
        work, elapsed = self._ahead.get(self._cell, 0.0), time.monotonic() - self._began if self._cell else 0.0
        speed = self._spent / self._behind if self._behind else 1.0
        here = max(0.0, work * speed - elapsed)
        if self._share:
            # From the first word on where there were more: a run that was resumed begins somewhere in the middle.
            began, share = self._first if self._share > self._first[1] else self._since
            here = (time.monotonic() - began) * (1 - self._share) / (self._share - share)
            speed = (self._spent + elapsed + here) / (self._behind + work or 1.0)
        return here + (sum(self._ahead.values()) - work) * speed
