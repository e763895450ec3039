"""Is the stated epsilon true? A lower bound on it from many trainings with and without one canary.

Nothing is proven where the bound stays below: a bound above the stated epsilon would disprove the guarantee.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.core.scores.attack import Proven, proven, proven_gaussian
from experiments.core.study.audit import attacked, with_canary
from experiments.core.study.federated import checkpoint
from experiments.core.study.privacy import privacy_rows
from experiments.core.sweep.cell import Row
from experiments.vog.blocks import AuditSpec, side_by_side
from experiments.vog.stored import write_arrays
from experiments.vog.study import Study

FILE = "audit.npz"
"""In a cell's folder."""

METHOD = "audit"


def measure(block: AuditSpec, study: Study) -> list[Row]:
    """Rows of the method `audit`: `audit_epsilon`, what the private gradients prove, beside `stated_epsilon`.

    `tpr` and `fpr` of the attack on `runs` tested trainings of each kind; `audit_most`: what so many could prove at
    best; `audit_epsilon_loss`: what the canary's loss in the last model proves (black box);
    of steps of all samples at once also `audit_epsilon_gaussian`, tighter, for a mechanism that claims to be Gaussian.
    """
    stated = {row["metric"]: float(row["value"]) for row in privacy_rows(study.spec, study.problem)}
    seen, delta = _evidence(block, study), stated["delta"]
    white, black = (_judged(proven, seen[name], delta, block) for name in ("gradient", "loss"))
    told = {
        "audit_epsilon": white.epsilon, "stated_epsilon": stated["epsilon"], "runs": white.runs, "tpr": white.tpr,
        "fpr": white.fpr, "audit_most": white.most, "audit_epsilon_loss": black.epsilon,
    }  # fmt: skip
    if stated["rate"] == 1:
        told["audit_epsilon_gaussian"] = _judged(proven_gaussian, seen["gradient"], delta, block).epsilon
    rows = study.rows()
    for metric, value in told.items():
        rows.add(METHOD, metric, value, n=2 * block.runs)
    write_arrays(study.context, FILE, seen)
    return rows.rows


def _judged(judge: Callable[..., Proven], values: NDArray[np.float64], delta: float, block: AuditSpec) -> Proven:
    return judge(values[::2], values[1::2], delta, block.confidence)


def _evidence(block: AuditSpec, study: Study) -> dict[str, NDArray[np.float64]]:
    """Evidence of every run, the even ones with the canary, in stacks that are kept when they are done: [2 runs]."""
    problem, count = with_canary(study.problem, study.start), 2 * block.runs
    size, found = side_by_side(problem.net.size), []
    for first in range(0, count, size):
        runs = range(first, min(count, first + size))
        saved = checkpoint(study.spec, study.context, f"audit-{first:06d}")
        content = saved.load()
        if content is None:

            def progress(done: int, total: int, runs: range = runs) -> None:
                words = f"rounds, runs {runs.start + 1} to {runs.stop} of {count}"
                study.context.progress(words, done, total)

            seen = attacked(problem, study.start, study.formulation, runs, progress)
            content = {"gradient": torch.from_numpy(seen.gradient), "loss": torch.from_numpy(seen.loss)}
            saved.save(content)
        found.append(content)
    return {name: torch.cat([content[name] for content in found]).numpy() for name in ("gradient", "loss")}
