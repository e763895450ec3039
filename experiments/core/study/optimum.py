"""The optimum: the model trained on all its data."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from experiments.core.engine.descent import Descent, Moments, descend
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.newton import minimise
from experiments.core.errors import NumericalError
from experiments.core.study.central import Problem
from experiments.core.study.federated import progress_of
from experiments.core.sweep.cell import Context

_PART = 512  # samples of a pass
_WRITTEN_OUT = 1000  # parameters up to which Newton's method finishes what L-BFGS began
_COLUMNS = 64  # of a product with a Hessian that is written out
_CONSTANT = 1e-6  # outputs that vary less than this over the test set do not depend on the input


@dataclass(frozen=True)
class Optimum:
    """What training ended in.

    Attributes:
        theta: [size]. moments: of the optimiser, None after lbfgs. step: steps taken.
        seconds: of training. gradient_norm: of the objective, with normalisation frozen.
    """

    theta: Tensor
    moments: Moments | None
    step: int
    seconds: float
    gradient_norm: float


def descent_of(problem: Problem) -> Descent:
    """The optimiser as the engine wants it."""
    spec = problem.spec.train
    return Descent(
        lr=spec.lr,
        optimizer=spec.optimizer,
        batch_size=spec.batch_size,
        momentum=spec.momentum,
        drops=spec.drops,
        decay=problem.spec.effective_decay,
        mask=problem.mask,
    )


def train(problem: Problem, context: Context, workers: Workers) -> Optimum:
    """Train the base model; taken up from its checkpoint.

    Raises:
        NumericalError: training left the finite numbers.
    """
    began, spec = time.perf_counter(), problem.spec.train
    saved = problem.checkpoint(context, "optimum")
    known = saved.load()
    if known is not None and "gradient_norm" in known:
        means = tuple(mean.to(problem.start) for mean in known["means"])
        moments = Moments(means, known["step"]) if spec.optimizer != "lbfgs" else None
        return Optimum(
            known["theta"].to(problem.start), moments, known["step"], known["seconds"], known["gradient_norm"]
        )
    columns = _COLUMNS if problem.net.p <= _WRITTEN_OUT else 1
    objective = problem.objective().fitted(problem.start, columns)
    if spec.optimizer == "lbfgs":
        progress = progress_of(context, "steps to optimum")
        solution = minimise(
            objective, problem.start, spec.tolerance, spec.steps, progress, problem.net.p <= _WRITTEN_OUT
        )
        theta, moments, step = solution.theta, None, solution.steps
    else:
        ended = descend(
            problem.way, problem.start[None], problem.data.x, problem.data.y, None, descent_of(problem), spec.steps,
            problem.seed, workers, checkpoint=problem.checkpoint(context, "training"),
            progress=progress_of(context, "training steps"),
        )  # fmt: skip
        theta, moments, step = ended.states[0], ended.moments, ended.step
    if not bool(theta.isfinite().all()):
        raise NumericalError("training left the finite numbers", problem.spec.name, "lower train.lr")
    norm, seconds = float(objective.gradient(theta).norm()), time.perf_counter() - began
    means_to_save = list(moments.means) if moments is not None else []
    saved.save({"theta": theta, "means": means_to_save, "step": step, "seconds": seconds, "gradient_norm": norm})
    return Optimum(theta, moments, step, seconds, norm)


def top5(problem: Problem, theta: Tensor) -> float:
    """Share of test samples whose label is among the five largest outputs; NaN with ten classes or fewer."""
    if problem.data.classes <= 10:
        return float("nan")
    right, data = 0, problem.data
    for x, y in zip(data.test_x.split(_PART), data.test_y.split(_PART), strict=True):
        best = problem.frozen_way.outputs(theta[None], x)[0].topk(5).indices
        right += int((best == (y.argmax(1) if y.dim() == 2 else y)[:, None]).sum())
    return right / len(data.test_y)


def described(problem: Problem, optimum: Optimum, workers: Workers) -> dict[str, float]:
    """Losses, accuracies and whether the outputs depend on the input at all."""
    facts: dict[str, float] = {}
    for part, x, y in (
        ("train", problem.data.x, problem.data.y),
        ("test", problem.data.test_x, problem.data.test_y),
    ):
        result = evaluate(problem.frozen_way, optimum.theta[None], x, y, workers)
        facts |= {f"{part}_loss": float(result.loss[0]), f"{part}_accuracy": float(result.accuracy[0])}
    outputs = problem.frozen_way.outputs(optimum.theta[None], problem.data.test_x[:512])[0]
    spec = problem.spec
    return facts | {
        "test_accuracy_top5": top5(problem, optimum.theta),
        "gradient_norm": optimum.gradient_norm,
        "converged": float(optimum.gradient_norm <= spec.train.converged),
        "constant_output": float(len(outputs) > 1 and float(outputs.std(0).max()) < _CONSTANT),
        "parameters": float(problem.net.p),
        "train_samples": float(problem.n),
        "test_samples": float(len(problem.data.test_y)),
        "steps": float(optimum.step),
        "seconds": optimum.seconds,
        "retrain_share": spec.retrain.steps / spec.train.steps if spec.retrain.steps else float("nan"),
        "retrain_epochs": (spec.retrain.steps or 0) * (spec.train.batch_size or problem.n) / problem.n,
        "weight_decay": spec.effective_decay,
    }
