"""Training goes on without the samples of the highest scores (Table 1), of the lowest, without random ones, with all.

All worlds continue side by side from one state, the end of the warm-up, through the same batches: one that leaves
samples out takes as many steps, at the same rate and with the same noise, only from smaller batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE, World
from experiments.core.errors import SpecError
from experiments.core.spec.fields import RunSpec
from experiments.core.study.federated import checkpoint, progress_of
from experiments.core.study.removal import leading, ranked
from experiments.core.sweep.cell import Row
from experiments.vog.blocks import RemovalSpec
from experiments.vog.study import Study

NONE, RANDOM = "none", "random"
"""Methods of the controls."""


@dataclass(frozen=True)
class Pick:
    """Samples that are left out: by which method, from which end of its scores, in which draw."""

    method: str
    pick: str
    draw: int
    rows: frozenset[int]

    @property
    def world(self) -> World:
        """The world without them."""
        return World(f"{self.method} {self.pick} {self.draw}", samples=self.rows) if self.rows else BASE


def check(block: RemovalSpec, spec: RunSpec, problem: Problem) -> None:
    """Refuse a share that takes nobody, or leaves less than a batch.

    Raises:
        SpecError: so it is.
    """
    n, batch = len(problem.federation.y), spec.local.batch_size or 1
    gone = round(block.share * n)
    if not gone:
        raise SpecError(f"{block.share:g} of {n} samples is none", "removal.share", "raise it")
    if n - gone < batch:
        what = f"{block.share:g} of {n} samples leaves {n - gone}, less than a batch of {batch}"
        raise SpecError(what, "removal.share", "lower it, or local.batch_size")


def measure(block: RemovalSpec, study: Study) -> list[Row]:
    """Rows `removal_*` of every world after the last round, subjects `pick=highest draw=0 share=0.25`.

    Raises:
        SpecError: less than two classes would be left.
    """
    scores = study.scored(study.trail(block.after), "removal")
    study.say_unscaled(scores, "after the warm-up")
    picks = picked(block, scores, study)
    for pick in picks:
        _require(pick, study)
    states = simulate(
        study.problem,
        [pick.world for pick in picks],
        study.kept.of([block.after], study.start)[0],
        study.formulation,
        first_round=block.after + 1,
        threads=study.context.threads,
        checkpoint=checkpoint(study.spec, study.context, "removal"),
        progress=progress_of(study.context, "rounds without samples"),
    )
    return _rows(block, study, picks, states)


def picked(block: RemovalSpec, scores: dict[str, Tensor], study: Study) -> list[Pick]:
    """What each world leaves out, the one that leaves out nothing first.

    Args:
        scores: method -> raw ones [n]. They are ranked over all classes at once, scaled within each; ties by the raw
            score, then by row. A method is left out, with a warning, if fewer samples have a scaled score than go.
    """
    n = len(study.labels)
    shares = [block.share]
    picks = [Pick(NONE, "none", 0, frozenset())]
    for draw in range(block.random):
        order = stream(study.seed, "removal", draw=draw).permutation(n).tolist()
        picks += [Pick(RANDOM, "random", draw, frozenset(rows)) for _, rows in leading(order, shares)]
    for name, values in scores.items():
        scaled, count = study.scaled(values), round(block.share * n)
        if (known := int(np.isfinite(scaled).sum())) < count:
            study.warn(f"removal by {name}: {known} samples have a scaled score, {count} are to go; it is left out")
            continue
        for pick in ("highest", *["lowest"] * block.lowest):
            order = ranked(scaled, values.numpy(), largest=pick == "highest")
            picks += [Pick(name, pick, 0, frozenset(rows)) for _, rows in leading(order, shares)]
    return picks


def _require(pick: Pick, study: Study) -> None:
    """Warn of a class, or a client, without a sample left.

    Raises:
        SpecError: only one class is left.
    """
    left = _left(pick, study)
    counts = torch.bincount(study.labels[left], minlength=study.problem.federation.classes)
    before = torch.bincount(study.labels, minlength=len(counts))
    where = f"removal of {pick.pick} {pick.method}" if pick.pick != pick.method else f"removal, {pick.method}"
    if int((counts > 0).sum()) < 2:
        raise SpecError(f"{where}: only one class is left", "removal.share", "lower it")
    emptied = ((before > 0) & (counts == 0)).nonzero().flatten().tolist()
    if emptied:
        study.context.warn(f"{where}: no sample of class {', '.join(map(str, emptied))} is left")
    clients, offsets = study.problem.federation.clients, study.problem.federation.offsets
    gone = [clients[k] for k in range(len(clients)) if not bool(left[offsets[k] : offsets[k + 1]].any())]
    if gone:
        study.context.warn(f"{where}: no sample of client {', '.join(gone)} is left")


def _left(pick: Pick, study: Study) -> Tensor:
    """[n] bool, who stays."""
    left = torch.ones(len(study.labels), dtype=torch.bool)
    left[sorted(pick.rows)] = False
    return left


def _rows(block: RemovalSpec, study: Study, picks: list[Pick], states: Tensor) -> list[Row]:
    """Loss and accuracy on the test set, accuracy on the training samples that are left, their classes: by world."""
    data, rows, t = study.problem.federation, study.rows(), study.spec.rounds
    test = evaluate(study.formulation, states, data.test_x, data.test_y, study.workers)
    for i, pick in enumerate(picks):
        left = _left(pick, study)
        x, y = (values[left.to(values.device)] for values in (data.x, data.y))
        train = evaluate(study.formulation, states[i : i + 1], x, y, study.workers)
        found = (
            ("removal_accuracy", 100 * float(test.accuracy[i]), "%", len(data.test_y)),
            ("removal_loss", float(test.loss[i]), "nats", len(data.test_y)),
            ("removal_train_accuracy", 100 * float(train.accuracy[0]), "%", len(y)),
            ("classes_left", float(len(study.labels[left].unique())), "classes", int(left.sum())),
        )
        share = f"{block.share if pick.rows else 0:g}"
        for metric, value, unit, n in found:
            rows.add(pick.method, metric, value, unit, t=t, n=n, pick=pick.pick, draw=pick.draw, share=share)
    return rows.rows
