"""A paper of one cell per seed, in place of a real one. `data` names a file that the cell needs."""

from __future__ import annotations

import functools
from typing import Any

from experiments.core.errors import MissingError, NumericalError
from experiments.core.paper import Paper
from experiments.core.sweep.cell import Cell, Context, Row

PAPER = Paper(
    name="train", title="A toy", citation="", version=1, main="synthetic_logreg",
    spec="experiments.train.spec:TrainSpec", cells="tests.toys.paper:cells", report="tests.toys.paper:report",
)  # fmt: skip


def cells(spec: Any) -> list[Cell]:
    return [
        Cell("train", spec.name, spec.scale, seed, "fedavg", {"rounds": spec.rounds}, 1, work=1000.0, worlds=3,
             compute=functools.partial(compute, kind=spec.data.kind, rounds=spec.rounds, seed=seed))
        for seed in spec.seeds
    ]  # fmt: skip


def compute(context: Context, kind: str, rounds: int, seed: int) -> list[Row]:
    if kind == "femnist":
        raise MissingError("FEMNIST is not there", "no folder", "get it, or --data digits")
    if rounds == 13:
        raise NumericalError("the loss is not finite", f"round {rounds}", "lower local.lr")
    context.progress("round", rounds, rounds)
    context.log(f"threads {context.threads}")
    return [{"metric": "loss", "round": r, "value": 1.0 / (r + seed), "n": 1} for r in range(1, rounds + 1)]


def report(metrics: Any, folders: Any) -> list[Any]:
    from experiments.core.report.artefacts import Artefact

    last = metrics[metrics["round"] == metrics["round"].max()]
    return [Artefact("curves", last[["setting", "seed", "round", "value"]], table_md=True)]
