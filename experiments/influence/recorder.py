"""The record of a run: truth and estimates, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.engine.truth import Truth, parameter_change, truth
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant, tensor_norms
from experiments.core.scores.rows import agreement
from experiments.core.study.quality import status
from experiments.core.subject import subject
from experiments.core.sweep.cell import Row
from experiments.influence.spec import InfluenceSpec

TEST, COUNTED, WHOLE = subject(data="test"), subject(clients="counted"), subject(tensors="all")


def ranking_variant(spec: InfluenceSpec) -> str:
    """The variant that ranks clients for Figs. 4 and 7: the paper's method, or else the last one named."""
    preferred = [method for method in spec.variants if method.ranks]
    return (preferred or spec.variants)[-1].called


class Recorder:
    """An observer that runs after the estimator: at chosen rounds it evaluates worlds and estimates.

    Every `evaluate_every` rounds and in the last: FIL and FIA, exact and by each variant, for the counted clients, and
    their correlations; and the tracked client's FIP error by tensor. At rounds of the ranking grid (and x of the
    cleansing) the ranking variant's FIL and FIA for every client. Where numbers are predicted there is no FIA.

    Attributes:
        rows: the tidy rows so far.
        ranking: at the cleansing round, (clients, FIL, FIA) of the ranking variant, and `base_at_x` the global state.
    """

    needs_iterates = False

    def __init__(
        self,
        spec: InfluenceSpec,
        problem: Problem,
        estimator: FedInfluence,
        columns: Mapping[str, Variant],
        counted: list[int],
        tracked: int,
        formulation: Formulation,
        workers: Workers,
        partial: Callable[[list[Row]], None] = lambda rows: None,
        show_status: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._spec, self._problem, self._estimator, self._columns = spec, problem, estimator, columns
        self._counted, self._tracked, self._formulation, self._workers = counted, tracked, formulation, workers
        self._partial, self._show_status = partial, show_status
        self._classes = not problem.federation.predicts_numbers
        self._x = spec.cleansing.round if spec.cleansing is not None else 0
        self._names = problem.federation.clients
        self.rows: list[Row] = [
            {"metric": "tracked_client", "subject": subject(client=self._names[tracked]), "value": float(tracked)}
        ]
        self.ranking: dict[str, Tensor] = {}
        self.base_at_x: Tensor | None = None

    def of_base(self) -> tuple[float, float]:
        """Test loss and accuracy (in [0, 1]; NaN of numbers) of the base model at its last evaluation."""
        latest = {row["metric"]: row["value"] for row in self.rows if row.get("method") == "base"}
        return latest["loss"], latest.get("accuracy", math.nan) / 100

    def observe(self, record: Round) -> None:
        """Evaluate round `record` if it is one of the chosen rounds."""
        t = record.index
        last = t == record.rounds
        grid = t % self._spec.ranking_interval == 0
        if t % self._spec.evaluate_every == 0 or last or grid or t == self._x:
            self._evaluate(record, details=last or grid or t == self._x)
        if t == self._x:
            self.base_at_x = record.after.clone()
        if grid and not last:
            total: Row = {"metric": "config", "subject": subject(key="rounds"), "value": float(record.rounds)}
            self._partial([*self.rows, total])

    def _evaluate(self, record: Round, details: bool) -> None:
        states = record.states()
        exact = truth(self._formulation, states, self._problem.federation, self._workers)
        t = record.index
        self._show_status(status(exact.base_loss, exact.base_accuracy))
        self._add("base", "loss", TEST, t, exact.base_loss, len(self._problem.federation.test_y), "nats")
        if self._classes:
            self._add("base", "accuracy", TEST, t, 100 * exact.base_accuracy, len(self._problem.federation.test_y), "%")
        if details:
            self._clients("exact", t, self._counted, exact.loss, exact.accuracy)
        change = parameter_change(states)[:, : self._problem.net.p]
        self._norms("exact", "fip_norm", t, change)
        for name, variant in self._columns.items():
            if self._estimator.stopped(name):
                continue
            self._fip(name, t, change)
            first = None if details else len(self._counted)
            fil, fia = self._influence(record.after, self._estimator.change(name)[:first], exact)
            self._correlate(name, t, fil[: len(self._counted)], fia[: len(self._counted)], exact)
            if details:
                self._clients(name, t, variant.clients, fil, fia)
            if t == self._x and name == ranking_variant(self._spec):
                self.ranking = {"clients": torch.tensor(variant.clients), "fil": fil, "fia": fia}

    def _influence(self, after: Tensor, change: Tensor, exact: Truth) -> tuple[Tensor, Tensor]:
        """Estimated FIL and FIA [C] (Eq. 6) from FIP [C, size]. Clients of zero FIP need no evaluation."""
        moved = change.abs().amax(1) > 0
        fil, fia = torch.zeros(len(change), dtype=torch.float64), torch.zeros(len(change), dtype=torch.float64)
        if bool(moved.any()):
            f = self._problem.federation
            scores = evaluate(self._formulation, after + change[moved], f.test_x, f.test_y, self._workers)
            fil[moved.cpu()] = (scores.loss - exact.base_loss).cpu()
            fia[moved.cpu()] = (scores.accuracy - exact.base_accuracy).cpu()
        return fil, fia

    def _correlate(self, name: str, t: int, fil: Tensor, fia: Tensor, exact: Truth) -> None:
        last = t == self._spec.rounds
        both = (("fil", fil, exact.loss.cpu()), ("fia", fia, exact.accuracy.cpu()))
        for what, estimated, measured in both if self._classes else both[:1]:
            for metric, value, n in agreement(estimated.numpy(), measured.numpy(), f"{{}}_{what}", interval=last):
                self._add(name, metric, COUNTED, t, value, n, "correlation")

    def _fip(self, name: str, t: int, exact: Tensor) -> None:
        """Distance of estimated and exact FIP, and the share of flags that are still on."""
        estimate = self._estimator.change(name)[: len(self._counted), : self._problem.net.p]
        self._norms(name, "fip_error", t, estimate - exact)
        self._norms(name, "fip_norm", t, estimate)
        for slot, on in zip(self._problem.net.params, self._estimator.flags(name).tolist(), strict=True):
            self._add(name, "lwet_on", subject(tensor=slot.name), t, on, len(self._counted), "share of flags")

    def _norms(self, method: str, metric: str, t: int, vectors: Tensor) -> None:
        """Norms of [C, p] vectors: the tracked client's, total and by tensor; the median over the counted clients."""
        norms = tensor_norms(self._problem.net, vectors[self._counted.index(self._tracked)][:, None])[:, 0]
        self._add(method, metric, WHOLE, t, float(norms.norm()), 1, "L2")
        for slot, norm in zip(self._problem.net.params, norms.tolist(), strict=True):
            self._add(method, metric, subject(tensor=slot.name), t, norm, 1, "L2")
        self._add(method, f"{metric}_median", COUNTED, t, float(vectors.norm(dim=1).median()), len(vectors), "L2")

    def _clients(self, method: str, t: int, clients: Any, fil: Tensor, fia: Tensor) -> None:
        for c, loss, accuracy in zip(clients, fil.tolist(), fia.tolist(), strict=True):
            self._add(method, "fil", subject(client=self._names[c]), t, loss, 1, "nats")
            if self._classes:
                self._add(method, "fia", subject(client=self._names[c]), t, 100 * accuracy, 1, "%")

    def _add(self, method: str, metric: str, about: str, t: int, value: float, n: int, unit: str) -> None:
        self.rows.append(
            {"method": method, "metric": metric, "subject": about, "round": t, "value": value, "n": n, "unit": unit}
        )

    def state(self) -> dict[str, Any]:
        """The state that `restore` needs."""
        return {"rows": self.rows, "ranking": self.ranking, "base_at_x": self.base_at_x}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        self.rows, self.ranking, self.base_at_x = state["rows"], state["ranking"], state["base_at_x"]
        if self.base_at_x is not None:
            self.base_at_x = self.base_at_x.to(self._problem.federation.x.device)
