"""An observer that traces predictions of the global model to the participants of the round, and scores the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round
from experiments.core.estimators.numerics.tracefl import Contributions, contributions, normalised
from experiments.core.estimators.provenance import FaultFinder, ProvenanceMethod, Traced
from experiments.core.study.quality import status
from experiments.core.study.rows import Rows
from experiments.trace import inputs, rows
from experiments.trace.picture import PictureData
from experiments.trace.spec import TraceSpec

_BLOCK = 256  # test samples sent through the model at a time, by one thread


class Recorder:
    """Traces the chosen predictions of every round with every method of the setting.

    Attributes:
        metrics: the rows so far.
        picture: the data for the picture of the last round with inputs, or None.
        label_counts: [clients, classes] training samples by label.
    """

    needs_iterates = False

    def __init__(
        self,
        spec: TraceSpec,
        point: str,
        problem: Problem,
        formulation: Formulation,
        workers: Workers,
        partial: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
        show_status: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._spec, self._problem, self._formulation, self._workers = spec, problem, formulation, workers
        self._partial, self._show_status = partial, show_status
        self.label_counts = problem.federation.label_counts()
        named = spec.faults.clients if spec.faults else ()
        self._faulty = frozenset(problem.federation.positions(named, "faults.clients"))
        self.metrics = Rows(point, finite=True)
        self.picture: PictureData | None = None

    def observe(self, record: Round) -> None:
        """Evaluate the global model and trace the round's predictions, in the rounds chosen for each."""
        t, last = record.index, record.index == record.rounds
        judged = t % self._spec.evaluate_every == 0 or last
        traced = t % self._spec.trace_every == 0 or last
        if not (judged or traced):
            return
        theta = record.aggregate if self._spec.traced == "before" else record.after
        x, y = self._tests()
        outputs = torch.cat(list(self._workers.map(lambda part: self._outputs(theta, part), x.split(_BLOCK))))
        if judged:
            loss = float(self._problem.net.losses(outputs, y).double().mean())
            right = float((outputs.argmax(-1) == y).double().mean())
            self.metrics.add("global", "loss", loss, "nats", t=t, n=len(y))
            self.metrics.add("global", "accuracy", 100 * right, "%", t=t, n=len(y))
            self._show_status(status(loss, right))
        if traced:
            self._trace(record, theta, outputs.argmax(-1), y)
            self._partial(self.metrics.rows)

    def of_base(self) -> tuple[Federation, float, float]:
        """The federation with the test samples in use; the last loss on them, and the last accuracy in [0, 1]."""
        latest = {row["metric"]: row["value"] for row in self.metrics.rows if row["method"] == "global"}
        x, y = self._tests()
        return replace(self._problem.federation, test_x=x, test_y=y), latest["loss"], latest["accuracy"] / 100

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"rows": self.metrics.rows, "kept": self.picture}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        self.metrics.rows, self.picture = state["rows"], state["kept"]

    def _tests(self) -> tuple[Tensor, Tensor]:
        f, most = self._problem.federation, self._spec.inputs.among
        return f.test_x[:most], f.test_y[:most]

    def _outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs [n, C] of the model with state theta [size]."""
        return self._formulation.outputs(theta[None], x)[0]

    def _trace(self, record: Round, theta: Tensor, predicted: Tensor, y: Tensor) -> None:
        """Trace both scopes of the round: right predictions, and wrong ones that the faults explain."""
        spec, faults = self._spec, self._spec.faults
        label_counts = self.label_counts[list(record.participants)]
        chosen = {"correct": inputs.correct(predicted, y, label_counts.to(y.device), spec.inputs.per_label)}
        present = not self._faulty.isdisjoint(record.participants)
        if faults is not None:
            chosen["wrong"] = inputs.wrong(predicted, y, faults, spec.inputs.wrong) if present else []
        for name, samples in chosen.items():
            self.metrics.add("inputs", "inputs", len(samples), "count", t=record.index, scope=name)
        traced = {name: samples for name, samples in chosen.items() if samples}
        if traced:
            self._of_inputs(record, theta, traced, label_counts)
        if present and self._problem.federation.x.is_floating_point():
            for finder in spec.methods:
                if isinstance(finder, FaultFinder):
                    self._find_faults(finder, record)

    def _of_inputs(self, record: Round, theta: Tensor, traced: dict[str, list[int]], label_counts: Tensor) -> None:
        """Scores of all methods for all chosen inputs of the round at once, then evaluated scope by scope."""
        samples = [i for chosen in traced.values() for i in chosen]
        x, y = (part[torch.tensor(samples, device=part.device)] for part in self._tests())
        began = self._now()
        contribution = contributions(self._problem.net, theta, record.locals, x, active=self._spec.active)
        shared = self._now() - began
        scores, seconds = self._scores(record, contribution, shared / len(samples))
        fall = self._fall(record, theta, x, contribution) if self._spec.truth else None
        labels, start = y.cpu(), 0
        for name, chosen in traced.items():
            part = slice(start, start + len(chosen))
            start += len(chosen)
            right, most = inputs.holders(labels[part], label_counts), label_counts.T[labels[part]].argmax(1)
            if name == "wrong":
                right = inputs.guilty(record.participants, self._faulty, len(chosen))
            scope_fall = None if fall is None else fall[part]
            scope = rows.Scope(name, record.index, right, most if name == "correct" else None, scope_fall)
            rows.of_chance(self.metrics, scope)
            rows.of_truth(self.metrics, scope)
            for method, values in scores.items():
                rows.of_scores(self.metrics, method, values[part], scope)
                self.metrics.add(method, "seconds", seconds[method], "s", t=record.index, n=len(chosen), scope=name)
        self._keep(record, traced, samples, contribution, scores, fall)

    def _scores(
        self, record: Round, contribution: Contributions, shared: float
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Scores [n, K] of every method that scores predictions, on the CPU, and their seconds per input."""
        traced = Traced(record, contribution, noisy=self._spec.traced == "after")
        scores: dict[str, Tensor] = {}
        seconds: dict[str, float] = {}
        for method in self._spec.methods:
            if isinstance(method, ProvenanceMethod):
                began = self._now()
                scores[method.called] = method.scores(traced).cpu()
                alone = (self._now() - began) / traced.n
                seconds[method.called] = alone + shared if method.sees_inputs else alone
        return scores, seconds

    def _fall(self, record: Round, theta: Tensor, x: Tensor, contribution: Contributions) -> Tensor:
        """[n, K] how far the traced logit falls when participant k is left out of the round."""
        if theta is not record.aggregate:  # every world gets the same noise
            noise = theta - record.aggregate
        target = contribution.target[:, None]
        whole = self._outputs(theta, x).gather(1, target)[:, 0]
        falls = []
        for client in record.participants:
            state = record.without(client)
            moved = state if theta is record.aggregate else state + noise
            falls.append(whole - self._outputs(moved, x).gather(1, target)[:, 0])
        return torch.stack(falls, 1).double().cpu()

    def _find_faults(self, finder: FaultFinder, record: Round) -> None:
        """The share of the faulty participants that a method finds.

        A round all of whose participants are faulty gets no row: there is nobody to compare them with.
        """
        problem = self._problem
        true = {position for position, k in enumerate(record.participants) if k in self._faulty}
        if len(true) == len(record.participants):
            return
        x = self._normalised(finder.draw(tuple(problem.federation.x.shape[1:]), problem.seed * 100_003 + record.index))
        x = x.to(record.locals)
        began = self._now()
        declared = finder.declared(problem.net, record.locals, x, len(true))
        seconds = (self._now() - began) / len(x)
        share = sum(len(true & set(named)) / len(true) for named in declared) / len(declared)
        common = {"t": record.index, "n": len(declared), "scope": "wrong"}
        self.metrics.add(finder.called, "localization", 100 * share, "%", **common)  # type: ignore[arg-type]
        self.metrics.add(finder.called, "seconds", seconds, "s", **common)  # type: ignore[arg-type]

    def _normalised(self, x: Tensor) -> Tensor:
        """Random inputs sent through the data's normalisation, as FedDebug's published code does."""
        spec = self._spec
        mean, deviation = getattr(spec.data, "mean", None), getattr(spec.data, "deviation", None)
        if mean is None or deviation is None:
            return x
        shift, scale = (torch.tensor(part).reshape(-1, 1, 1) for part in (mean, deviation))
        return (x - shift) / scale

    def _keep(
        self,
        record: Round,
        traced: dict[str, list[int]],
        samples: list[int],
        contribution: Contributions,
        scores: dict[str, Tensor],
        fall: Tensor | None,
    ) -> None:
        """Remember the round for the picture."""
        raw = scores.get("tracefl", next(iter(scores.values())))
        self.picture = {
            "round": record.index,
            "scope": [name for name, chosen in traced.items() for _ in chosen],
            "sample": samples,
            "predicted": contribution.target.tolist(),
            "clients": list(record.participants),
            "faulty": [k in self._faulty for k in record.participants],
            "scores": normalised(raw),
            "raw": raw,
            "fall": fall,
        }

    def _now(self) -> float:
        """The time, once the device has finished all its work."""
        if self._problem.federation.x.is_cuda:
            torch.cuda.synchronize(self._problem.federation.x.device)
        return time.perf_counter()
