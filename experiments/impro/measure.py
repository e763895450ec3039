"""What the observers of this paper's measures have in common: rows, and the samples of a client that are looked at."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import Round
from experiments.core.subject import subject
from experiments.core.sweep.cell import Row


class Measure(ABC):
    """An observer of rounds that collects rows.

    Attributes:
        rows: the rows so far, of the method `method`.
    """

    needs_iterates = False

    def __init__(self, method: str, point: str, problem: Problem) -> None:
        self.method, self.point, self.problem = method, point, problem
        self.rows: list[Row] = []

    def add(self, metric: str, value: float, unit: str, *, t: int, n: int | None = None, **words: object) -> None:
        """One number of round t; `words` complete the subject. What is not defined (NaN) gets no row."""
        if math.isfinite(value):
            about = " ".join(filter(None, [self.point, subject(**words)]))
            row: Row = {"method": self.method, "metric": metric, "subject": about, "round": t, "value": float(value)}
            self.rows.append({**row, "unit": unit, **({} if n is None else {"n": n})})

    @abstractmethod
    def observe(self, record: Round) -> None:
        """Called after every round; measures in those that are due."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"rows": self.rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        self.rows = state["rows"]

    def looked_at(self, t: int, mean: int | None) -> list[Tensor]:
        """Rows of each client's own samples that are looked at in round t: the same share of everybody's, at least one.

        They are drawn by the names of client and round, so that all clients together are a sample of all data.

        Args:
            mean: how many of a client, on average; None: all.
        """
        federation = self.problem.federation
        sizes, total = federation.sizes, federation.offsets[-1]
        share = 1.0 if mean is None else min(1.0, mean * len(sizes) / total)
        return [self._drawn(k, t, max(1, round(share * n)), n).to(federation.y.device) for k, n in enumerate(sizes)]

    def _drawn(self, client: int, t: int, count: int, n: int) -> Tensor:
        if count == n:
            return torch.arange(n)
        rows = stream(self.problem.seed, "looked_at", client=client, round=t).permutation(n)[:count]
        return torch.from_numpy(rows).sort().values

    def of(self, client: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some of a client's samples: x [n, ...], y [n]."""
        x, y = self.problem.federation.of(client)
        return (x, y) if len(rows) == len(y) else (x[rows], y[rows])
