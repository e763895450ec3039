"""An observer that measures a federated run round by round: accuracy, drift, traffic, time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.study.quality import status
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row
from experiments.impro import drift
from experiments.impro.spec import ImproSpec


class Recorder:
    """Evaluates the global model every `evaluate_every` rounds and measures how far its participants drifted apart.

    Attributes:
        metrics: the rows so far. seen: the last round that was finished. accuracies: round -> test accuracy in %.
    """

    needs_iterates = False

    def __init__(
        self,
        spec: ImproSpec,
        point: str,
        problem: Problem,
        formulation: Formulation,
        workers: Workers,
        partial: Callable[[list[Row]], None] = lambda rows: None,
        show_status: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._spec, self._problem, self._formulation, self._workers = spec, problem, formulation, workers
        self._partial, self._show_status, self._method = partial, show_status, spec.algorithm.kind
        self.metrics = Rows(point)
        self.seen = 0
        self.accuracies: dict[int, float] = {}
        self._loss = math.nan
        self._seconds: list[float] = []
        self._sent = 0
        self._since: float | None = None  # None: the round in progress was not begun before this process's eyes

    def observe(self, record: Round) -> None:
        """Time the round; evaluate and measure in the rounds chosen for it."""
        now = self._now()
        if self._since is not None:
            self._seconds.append(now - self._since)
        self.seen, self._sent = record.index, record.uploads.shape[1] * record.uploads.element_size()
        if record.index % self._spec.evaluate_every == 0 or record.index == record.rounds:
            self._evaluate(record)
            if self._spec.divergence:
                self._diverge(record)
            if isinstance(self._problem.algorithm, FedImpro):
                weight = self._problem.algorithm.weight_at(self._problem.turn(record.index))
                self._add("sampled_weight", weight, t=record.index)
            self._partial(self.metrics.rows)
        self._since = self._now()

    def last(self) -> tuple[float, float]:
        """Test loss and accuracy (in [0, 1]) at the last evaluation; NaN before it."""
        return self._loss, self.accuracies.get(max(self.accuracies, default=0), math.nan) / 100

    def summary(self, diverged: bool) -> None:
        """The rows of the whole run; in the round after the last one seen the model `diverged`, or it went to its end.

        The evaluations that a diverged run did not come to are NaN.
        """
        spec, rounds, add = self._spec, self._spec.rounds, self._add
        if diverged:
            self._nothing_after()
        values = self.accuracies
        finite = {t: value for t, value in values.items() if math.isfinite(value)}
        best = max(finite, key=lambda t: (finite[t], -t)) if finite else math.nan
        tail = [values[t] for t in sorted(values)[-10:]]
        add("best_accuracy", finite.get(int(best), math.nan) if finite else math.nan, "%", n=len(values))
        add("best_round", best, "rounds", n=len(values))
        add("last_accuracy", values[max(values)], "%")
        add("last_ten_accuracy", sum(tail) / len(tail), "%", n=len(tail))
        for target in spec.target:
            reached = min((t for t, value in finite.items() if value >= target), default=math.nan)
            add("rounds_to_target", reached, "rounds", n=self.seen, target=f"{target:g}")
        add("diverged", self.seen + 1 if diverged else math.nan, "rounds", n=rounds)
        self._costs()

    def calibrated(self, state: Tensor, numbers: int) -> None:
        """The accuracy of the last state [size] after calibration, and what each client sent for it, once."""
        data, method = self._problem.federation, f"{self._method}+ccvr"
        accuracy = float(evaluate(self._formulation, state[None], data.test_x, data.test_y, self._workers).accuracy[0])
        self.metrics.add(method, "last_accuracy", 100 * accuracy, "%", n=len(data.test_y))
        self.metrics.add(method, "upload_bytes", numbers * state.element_size(), "bytes")

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        kept = {"seen": self.seen, "accuracies": self.accuracies, "loss": self._loss}
        return {**kept, "rows": self.metrics.rows, "seconds": self._seconds, "sent": self._sent}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        self.seen, self.accuracies, self._loss = state["seen"], state["accuracies"], state["loss"]
        self.metrics.rows, self._seconds, self._sent = state["rows"], state["seconds"], state["sent"]
        self._since = None

    def _add(self, metric: str, value: float, unit: str = "", **more: Any) -> None:
        self.metrics.add(self._method, metric, value, unit, **more)

    def _evaluate(self, record: Round) -> None:
        data = self._problem.federation
        scores = evaluate(self._formulation, record.after[None], data.test_x, data.test_y, self._workers)
        self._loss, accuracy = float(scores.loss[0]), float(scores.accuracy[0])
        self.accuracies[record.index] = 100 * accuracy
        self._of_round(record.index)
        self._show_status(status(self._loss, accuracy))

    def _of_round(self, t: int) -> None:
        n = len(self._problem.federation.test_y)
        self._add("loss", self._loss, "nats", t=t, n=n)
        self._add("accuracy", self.accuracies[t], "%", t=t, n=n)

    def _nothing_after(self) -> None:
        """NaN for every evaluation from the round on in which the model left the finite numbers."""
        every, rounds = self._spec.evaluate_every, self._spec.rounds
        self._loss = math.nan
        for t in range(self.seen + 1, rounds + 1):
            if t % every == 0 or t == rounds:
                self.accuracies[t] = math.nan
                self._of_round(t)

    def _diverge(self, record: Round) -> None:
        """Weight divergence of the round's participants, and by tensor where asked."""
        slots, t, n = self._problem.net.params, record.index, len(record.participants)
        squared = drift.squared_distances(record.locals, record.sizes, slots)
        self._add("weight_divergence", drift.divergence(squared), t=t, n=n)
        chosen = t % self._spec.layers_every == 0 or t == record.rounds
        if self._method in self._spec.layers_of and chosen:
            for depth, (slot, value) in enumerate(zip(slots, drift.by_tensor(squared), strict=True)):
                self._add("layer_divergence", value, t=t, n=n, layer=slot.name, depth=depth)

    def _costs(self) -> None:
        """Bytes of a client and round, bytes that the algorithm remembers, seconds of a round."""
        problem, start = self._problem, self._problem.net.flat()
        state, size = problem.algorithm.init(start, problem.setup), start.element_size()
        received = len(start) + (state.server.numel() if problem.algorithm.broadcasts else 0)
        if self.seen:
            self._add("upload_bytes", self._sent, "bytes")
        self._add("download_bytes", received * size, "bytes")
        numbers = state.numbers(len(set().union(*problem.schedule)))
        self._add("state_bytes", numbers * size, "bytes")
        if self._seconds:
            self._add("train_seconds", median(self._seconds), "s", n=len(self._seconds))

    def _now(self) -> float:
        """The time, once the device has finished all its work."""
        if self._problem.federation.x.is_cuda:
            torch.cuda.synchronize(self._problem.federation.x.device)
        return time.perf_counter()
