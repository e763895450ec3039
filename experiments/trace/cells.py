"""The cells of Gill et al. 2025: one per point of a setting's grid and seed. Train, trace every round, score."""

from __future__ import annotations

from dataclasses import replace

from experiments.core.data.faults import flip_labels
from experiments.core.engine.device import Workers
from experiments.core.engine.examine import must_stand_still
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.estimators.provenance import Inputs
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import build, checkpoint, formulation, progress_of
from experiments.core.study.price import Price, of_run, size_of
from experiments.core.study.privacy import privacy_rows
from experiments.core.study.quality import quality
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.trace import PAPER
from experiments.trace.picture import keep_inputs
from experiments.trace.recorder import Recorder
from experiments.trace.spec import ORDER, WORDS, TraceSpec


def cells(spec: TraceSpec) -> list[Cell]:
    """The cells of one setting: every point of the grid, every seed."""
    return cells_of(PAPER, spec, _price, compute, spec.grid, ORDER, WORDS)


def _price(spec: TraceSpec) -> Price:
    """What a cell costs: the run, and all methods in all traced rounds."""
    price, size = of_run(spec), size_of(spec)
    if size is None:
        return price
    n = spec.inputs.per_label * size.classes + (spec.inputs.wrong if spec.faults else 0)
    inputs = Inputs(n, spec.clients_per_round, size.parameters, size.forward)
    traced = spec.rounds / spec.trace_every * sum(method.price(inputs) for method in spec.methods)
    return replace(price, seconds=price.seconds + traced)


def compute(spec: TraceSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train the federation, faulty clients included, and trace predictions of every round."""
    built = build(spec, seed, context)
    must_stand_still(built.problem.net, "who is responsible for a prediction")
    problem = _with_faults(spec, built.problem)
    chosen = formulation(spec, problem, 1, context)
    with Workers(context.threads) as workers:
        recorder = Recorder(
            spec, point, problem, chosen, workers,
            partial=lambda rows: context.partial([{**built.columns, **row} for row in rows]),
            show_status=context.status,
        )  # fmt: skip
        _describe(spec, recorder, problem)
        simulate(
            problem,
            [BASE],
            built.start,
            chosen,
            observers=[recorder],
            threads=context.threads,
            checkpoint=checkpoint(spec, context, "trace"),
            progress=progress_of(context, "rounds"),
        )
    if recorder.picture is None:
        context.warn("no prediction could be traced in any round: the model predicts no held label right")
    else:
        keep_inputs(recorder.picture, problem.federation, recorder.label_counts, spec.data, context)
    keep_clients(problem.federation, context)
    rows = recorder.metrics.rows + quality(problem.net, *recorder.of_base(), context, point)
    return [{**built.columns, **row} for row in rows]


def _with_faults(spec: TraceSpec, problem: Problem) -> Problem:
    """The problem with the faulty clients' labels flipped.

    Raises:
        SpecError: the data do not have a faulty client or a label.
    """
    if spec.faults is None:
        return problem
    faulty = problem.federation.positions(spec.faults.clients, "faults.clients")
    federation = flip_labels(problem.federation, faulty, spec.faults.to, spec.faults.labels)
    return replace(problem, federation=federation)


def _describe(spec: TraceSpec, recorder: Recorder, problem: Problem) -> None:
    """The configuration as run."""
    federation = problem.federation
    alpha = getattr(spec.partition, "alpha", None)
    facts = {
        "clients": len(federation.sizes),
        "participants": spec.clients_per_round,
        "rounds": spec.rounds,
        "train_samples": federation.offsets[-1],
        "test_samples": len(federation.test_y),
        "labels_per_client": float((recorder.label_counts > 0).sum(1).double().mean()),
        "classes": federation.classes,
        "parameters": problem.net.p,
        "faulty": len(spec.faults.clients) if spec.faults else 0,
        **({} if alpha is None else {"alpha": alpha}),
    }
    for key, value in facts.items():
        recorder.metrics.add("config", "config", float(value), key=key)
    for row in privacy_rows(spec, problem):
        recorder.metrics.add(row["method"], row["metric"], row["value"], row["unit"], n=row["n"])
