"""The cells of Tang et al. 2024: one federated run for every point of a setting's grid and seed, measured."""

from __future__ import annotations

from experiments.core.engine.device import Workers
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.errors import NumericalError
from experiments.core.study.ccvr import calibrated
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import build, checkpoint, formulation, progress_of
from experiments.core.study.privacy import privacy_rows
from experiments.core.study.quality import quality
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.impro import PAPER
from experiments.impro.observers import keep, measures_of
from experiments.impro.price import price
from experiments.impro.recorder import Recorder
from experiments.impro.spec import ORDER, WORDS, ImproSpec


def cells(spec: ImproSpec) -> list[Cell]:
    """The cells of one setting: every point of the grid, every seed."""
    return cells_of(PAPER, spec, price, compute, spec.grid, ORDER, WORDS, resolve=ImproSpec.tuned)


def compute(spec: ImproSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train the federation and measure it; a run whose model leaves the finite numbers ends there, with rows of NaN."""
    built = build(spec, seed, context)
    problem = built.problem
    chosen = formulation(spec, problem, 1, context)
    with Workers(context.threads) as workers:
        recorder = Recorder(
            spec, point, problem, chosen, workers,
            partial=lambda rows: context.partial([{**built.columns, **row} for row in rows]),
            show_status=context.status,
        )  # fmt: skip
        measures = measures_of(spec, point, problem, chosen, workers)
        if not recorder.metrics.rows:
            _describe(spec, recorder.metrics, problem)
        diverged = False
        try:
            (final,) = simulate(
                problem,
                [BASE],
                built.start,
                chosen,
                observers=[recorder, *measures],
                threads=context.threads,
                checkpoint=checkpoint(spec, context, "impro"),
                progress=progress_of(context, "rounds"),
            )
        except NumericalError as fault:
            diverged = True
            context.warn(f"{spec.algorithm.kind} diverged: {fault.what}; its accuracies from there on are NaN")
        recorder.summary(diverged)
        if spec.ccvr is not None and not diverged:
            recorder.calibrated(*calibrated(problem, final, spec.ccvr.samples, spec.ccvr.decay))
    keep_clients(problem.federation, context)
    keep(measures, context)
    rows = [*recorder.metrics.rows, *(row for measure in measures for row in measure.rows)]
    if not diverged:
        rows += quality(problem.net, problem.federation, *recorder.last(), context, point)
    return [{**built.columns, **row} for row in rows]


def _describe(spec: ImproSpec, rows: Rows, problem: Problem) -> None:
    """The configuration as run."""
    federation, local = problem.federation, problem.local
    alpha = getattr(spec.partition, "alpha", None)
    facts = {
        "clients": len(federation.sizes),
        "participants": spec.clients_per_round,
        "rounds": spec.rounds,
        "epochs": local.epochs or 0,
        "train_samples": federation.offsets[-1],
        "test_samples": len(federation.test_y),
        "smallest_client": min(federation.sizes),
        "labels_per_client": float((federation.label_counts() > 0).sum(1).double().mean()),
        "classes": federation.classes,
        "parameters": problem.net.p,
        **({} if alpha is None else {"alpha": alpha}),
    }
    for key, value in facts.items():
        rows.add("config", "config", float(value), key=key)
    rows.add(spec.algorithm.kind, "learning_rate", local.lr)
    for row in privacy_rows(spec, problem):
        rows.add(row["method"], row["metric"], row["value"], row["unit"], n=row["n"])
