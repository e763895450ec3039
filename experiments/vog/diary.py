"""An observer that evaluates the global model on test and training samples, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.study.quality import status
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Context
from experiments.vog.spec import VogSpec

METHOD = "train"
"""The rows' method."""


class Diary:
    """Losses and accuracies every `evaluate_every` rounds and in the last one, after the facts of the run.

    Attributes:
        metrics: the rows so far.
    """

    needs_iterates = False

    def __init__(
        self,
        spec: VogSpec,
        point: str,
        problem: Problem,
        formulation: Formulation,
        workers: Workers,
        context: Context,
        columns: Mapping[str, str],
    ) -> None:
        self._spec, self._problem, self._formulation, self._workers = spec, problem, formulation, workers
        self._context, self._columns = context, columns
        self._last = (math.nan, math.nan)
        self.metrics = Rows(point)
        self._describe()

    def observe(self, record: Round) -> None:
        """Evaluate, if it is this round's turn."""
        t = record.index
        if t % self._spec.evaluate_every and t != record.rounds:
            return
        data, add = self._problem.federation, self.metrics.add
        test = evaluate(self._formulation, record.after[None], data.test_x, data.test_y, self._workers)
        train = evaluate(self._formulation, record.after[None], data.x, data.y, self._workers)
        self._last = (float(test.loss[0]), float(test.accuracy[0]))
        add(METHOD, "test_loss", self._last[0], "nats", t=t, n=len(data.test_y))
        add(METHOD, "test_accuracy", 100 * self._last[1], "%", t=t, n=len(data.test_y))
        add(METHOD, "train_accuracy", 100 * float(train.accuracy[0]), "%", t=t, n=len(data.y))
        self._context.partial([{**self._columns, **row} for row in self.metrics.rows])
        self._context.status(status(*self._last))

    def last(self) -> tuple[float, float]:
        """Test loss and accuracy (in [0, 1]) at the last evaluation."""
        return self._last

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.metrics.rows, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.metrics.rows, self._last = state["rows"], state["last"]

    def _describe(self) -> None:
        """The configuration as run."""
        spec, data = self._spec, self._problem.federation
        facts = {
            "clients": len(data.sizes),
            "rounds": spec.rounds,
            "checkpoints": len(spec.kept()),
            "train_samples": len(data.y),
            "test_samples": len(data.test_y),
            "classes": data.classes,
            "parameters": self._problem.net.p,
            "batch_size": spec.local.batch_size or max(data.sizes),
            "learning_rate": spec.local.lr,
            "planted": spec.planted,
            **({"image_size": data.x.shape[-1]} if data.x.dim() == 4 else {}),
            **({"resumed_rounds": spec.rounds - spec.removal.after} if spec.removal else {}),
        }
        for key, value in facts.items():
            self.metrics.add("config", "config", float(value), key=key)
