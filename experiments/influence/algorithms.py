"""Beyond Xue et al. 2021: exact influence of every client under several algorithms. One cell an algorithm and seed.

All cells of a seed have the same clients, participants and initial weights: only the algorithm differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round, simulate
from experiments.core.engine.truth import moved, truth
from experiments.core.engine.worlds import leave_one_out
from experiments.core.errors import SpecError
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import build, checkpoint, formulation, progress_of
from experiments.core.study.price import Price, memory, size_of, training
from experiments.core.study.quality import quality, status
from experiments.core.subject import subject, words
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.influence import PAPER
from experiments.influence.spec import AXIS, WORDS, AlgorithmsSpec

EXACT, ROUNDING = "exact", "rounding"
"""Methods of rows: the truth, and the truth when all is trained from weights that differ by rounding."""


def algorithm_cells(spec: AlgorithmsSpec) -> list[Cell]:
    """The cells: every algorithm, every seed."""
    return cells_of(PAPER, spec, _price, compute, spec.grid, (AXIS,), WORDS)


def _price(spec: AlgorithmsSpec) -> Price:
    """A world for every client and one with all of them; with `rounding` one after the other twice."""
    size, times = size_of(spec), 2 if spec.rounding else 1
    worlds = (spec.known_clients or (size.clients if size else 0)) + 1
    if size is None:
        return Price(worlds=times * worlds)
    return Price(times * training(spec, size, worlds), times * worlds, memory(spec, size, worlds))


def compute(spec: AlgorithmsSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train the worlds that lack one client each, then the same from initial weights one rounding away.

    Raises:
        SpecError: fewer than three clients. NumericalError: a world's model left the finite numbers.
    """
    built = build(spec, seed, context)
    problem, clients = built.problem, len(built.problem.federation.sizes)
    if clients < 3:
        raise SpecError(f"the data has {clients} clients, too few to rank", "data", "bring at least 3 clients")
    chosen = formulation(spec, problem, clients + 1, context)
    with Workers(context.threads) as workers:
        exact = Influence(spec, EXACT, point, problem, chosen, workers)
        states = _trained(spec, built.start, exact, context)
        rows = exact.rows
        context.status(status(*exact.of_base))
        if spec.rounding:
            again = Influence(spec, ROUNDING, point, problem, chosen, workers)
            nudged = _trained(spec, moved(built.start, problem.net.p), again, context)
            null = truth(chosen, torch.stack([states[0], nudged[0]]), problem.federation, workers)
            rows = [*rows, *again.rows, again.row("null_world", float(null.loss[0]), "nats", spec.rounds)]
    keep_clients(problem.federation, context)
    rows = rows + quality(problem.net, problem.federation, *exact.of_base, context, point)
    return [{**built.columns, **row} for row in rows]


def _trained(spec: AlgorithmsSpec, start: Tensor, seen: Influence, context: Context) -> Tensor:
    """The final states [1 + clients, size] of the worlds, watched by `seen`; the first has all clients."""
    clients = seen.problem.federation.clients
    return simulate(
        seen.problem,
        leave_one_out(range(len(clients)), clients),
        start,
        seen.formulation,
        observers=[seen],
        threads=context.threads,
        checkpoint=checkpoint(spec, context, seen.method),
        progress=progress_of(context, "rounds, all worlds" + (", moved by rounding" * (seen.method == ROUNDING))),
    )


@dataclass
class Influence:
    """An observer: every `evaluate_every` rounds and in the last, what leaving each client out does to the model.

    Attributes:
        method: of the rows, EXACT or ROUNDING. point: of the grid. rows: FIL, and FIA where classes are predicted.
        of_base: test loss and accuracy, in [0, 1], of the model with all clients when it was last evaluated.
    """

    spec: AlgorithmsSpec
    method: str
    point: str
    problem: Problem
    formulation: Formulation
    workers: Workers
    rows: list[Row] = field(default_factory=list)
    of_base: tuple[float, float] = (math.nan, math.nan)
    needs_iterates = False

    def observe(self, record: Round) -> None:
        """Evaluate all worlds if the round is one to be evaluated."""
        if record.index % self.spec.evaluate_every and record.index < record.rounds:
            return
        federation = self.problem.federation
        found = truth(self.formulation, record.states(), federation, self.workers)
        self.of_base = found.base_loss, found.base_accuracy
        for name, loss, accuracy in zip(federation.clients, found.loss.tolist(), found.accuracy.tolist(), strict=True):
            self.rows.append(self.row("fil", loss, "nats", record.index, client=name))
            if not federation.predicts_numbers:
                self.rows.append(self.row("fia", 100 * accuracy, "%", record.index, client=name))

    def row(self, metric: str, value: float, unit: str, t: int, **about: str) -> Row:
        """One number after round t, at this point of the grid."""
        where = subject(**words(self.point), **about)
        return {
            "method": self.method, "metric": metric, "subject": where, "round": t, "value": value, "n": 1, "unit": unit,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """The state that `restore` needs."""
        return {"rows": self.rows, "of_base": self.of_base}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        self.rows, self.of_base = state["rows"], tuple(state["of_base"])
