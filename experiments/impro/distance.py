"""Distances between clients, and what the local training of each does for the others, in chosen rounds (IM10)."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.halves import Halves
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.scores.rows import agreement
from experiments.core.scores.transport import Conditional
from experiments.impro.distances import Client, Features, by_closed_form, by_labels, by_transport
from experiments.impro.measure import Measure
from experiments.impro.measures import DistanceSpec


class DistanceMeasure(Measure):
    """C_d of each client from the others, of inputs and of features, and each participant's contribution.

    Theorem 4.1 bounds the generalisation contribution E W_d(rho(theta + Delta), D without D_m) from below, where W_d is
    the mean distance of a sample to the nearest input that is classified as something else. That distance is the
    solution of one nonconvex problem a sample and cannot be computed for a network. In its place stands, for the local
    model of participant m, how far its local training lowers the mean loss on the other clients' training samples
    (`contribution`), and how far it raises their accuracy, the share of samples with a margin above zero at all
    (`contribution_accuracy`). It is one training run, not the expectation over them.

    Rows: `wasserstein` (client=, space=input|features, how=gaussian|exact|excess), where `excess` is what the exact one
    exceeds by that between samples of the others (see `by_transport`), and of label distributions alone (space=labels
    how=discrete: their total variation), which the theorem supposes alike and Eq. 13 lets count;
    `wasserstein_covered`, % of samples whose class the other side has, too; `contribution`, `own_contribution` (the
    same on its own samples), `contribution_accuracy` (client=); and `contribution_spearman`, `contribution_pearson`
    with the distances over the round's participants.
    """

    def __init__(
        self, block: DistanceSpec, method: str, point: str, problem: Problem, formulation: Formulation, workers: Workers
    ) -> None:
        super().__init__(method, point, problem)
        self._block, self._formulation, self._workers = block, formulation, workers
        self._halves = Halves.of(problem.net, block.split, problem.federation.x, "distance.split")

    def observe(self, record: Round) -> None:
        """Measure in the rounds that are due."""
        t = record.index
        if not self._block.due(t, record.rounds):
            return
        clients = [self.of(k, rows) for k, rows in enumerate(self.looked_at(t, self._block.samples))]
        contributions = self._contributions(record, clients)
        self._of_labels(record, contributions)
        spaces: dict[str, Features] = {"input": _flat, "features": partial(_features, self._halves, record.before)}
        for space, features in spaces.items():
            for how, values in self._distances(clients, features, t).items():
                self._rows(t, clients, space, how, values)
                self._correlate(record, [distance.value for distance in values], contributions, space, how)

    def _of_labels(self, record: Round, contributions: dict[int, float]) -> None:
        """Distances of label distributions."""
        values = by_labels(self.problem.federation.label_counts())
        for m, (name, value) in enumerate(zip(self.problem.federation.clients, values, strict=True)):
            n = self.problem.federation.sizes[m]
            self.add("wasserstein", value, "", t=record.index, n=n, client=name, space="labels", how="discrete")
        self._correlate(record, values, contributions, "labels", "discrete")

    def _correlate(
        self, record: Round, values: list[float], contributions: dict[int, float], space: str, how: str
    ) -> None:
        """Correlations of the participants' distances, those that are defined, with their contributions."""
        pairs = [(values[m], contributions[m]) for m in record.participants if math.isfinite(values[m])]
        distance, contribution = ([pair[i] for pair in pairs] for i in (0, 1))
        for metric, value, n in agreement(distance, contribution, "contribution_{}"):
            self.add(metric, value, "", t=record.index, n=n, space=space, how=how)

    def _distances(self, clients: list[Client], features: Features, t: int) -> dict[str, list[Conditional]]:
        classes, most = self.problem.federation.classes, self._block.exact
        found = {"gaussian": by_closed_form(clients, features, classes)}
        if most:
            exact, excess = by_transport(clients, features, classes, most, self.problem.seed, t)
            found |= {"exact": exact, "excess": excess}
        return found

    def _rows(self, t: int, clients: list[Client], space: str, how: str, values: list[Conditional]) -> None:
        for m, (name, distance) in enumerate(zip(self.problem.federation.clients, values, strict=True)):
            n = len(clients[m][1])
            self.add("wasserstein", distance.value, "", t=t, n=n, client=name, space=space, how=how)
            if (space, how) == ("input", "gaussian"):  # alike in every space
                self.add("wasserstein_covered", 100 * distance.covered, "%", t=t, n=n, client=name)

    def _contributions(self, record: Round, clients: list[Client]) -> dict[int, float]:
        """Participant -> by how much its local training lowers the others' loss [nats]."""
        models = torch.cat([record.before[None], record.locals])
        found = [evaluate(self._formulation, models, x, y, self._workers) for x, y in clients]
        loss = torch.stack([one.loss for one in found], 1).cpu()
        accuracy = torch.stack([one.accuracy for one in found], 1).cpu()
        sizes = torch.tensor([len(y) for _, y in clients], dtype=torch.float64)
        contributions = {}
        for row, m in enumerate(record.participants, 1):
            others = torch.where(torch.arange(len(sizes)) == m, 0.0, sizes)
            n, name = int(others.sum()), self.problem.federation.clients[m]
            lower, higher = loss[0] - loss[row], accuracy[row] - accuracy[0]
            contributions[m] = float(lower @ others) / n
            self.add("contribution", contributions[m], "nats", t=record.index, n=n, client=name)
            self.add("own_contribution", float(lower[m]), "nats", t=record.index, n=int(sizes[m]), client=name)
            gain = 100 * float(higher @ others) / n
            self.add("contribution_accuracy", gain, "%", t=record.index, n=n, client=name)
        return contributions


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def _features(halves: Halves, theta: Tensor, x: Tensor) -> Tensor:
    with torch.no_grad():
        return halves.features(theta, x).flatten(1)
