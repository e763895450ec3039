"""Estimates of the change of each test point's loss when a training sample is left out."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.errors import FedlabError
from experiments.core.estimators.inverse_hessian import HessianMethod, InverseHessian, Solution
from experiments.core.estimators.numerics.influence_function import changes, influences, test_gradients
from experiments.core.study.central import Central
from experiments.core.study.federated import progress_of
from experiments.core.sweep.cell import Context
from experiments.fragility.spec import FragilitySpec

Problem = Central[FragilitySpec]


@dataclass(frozen=True)
class Estimate:
    """The estimate of one method.

    Attributes:
        method: its name. solves: see `HessianMethod`.
        influence: [T, n] predicted changes of test loss on removal, in the order of the test points.
        seconds: to solve for all test points and to multiply with all training samples.
        solution: of the linear systems. inverse: the solver, for further right-hand sides.
    """

    method: str
    solves: bool
    influence: NDArray[np.float64]
    seconds: float
    solution: Solution
    inverse: InverseHessian


def estimate(problem: Problem, theta: Tensor, tests: list[int], context: Context) -> list[Estimate]:
    """Every method of the setting on test samples `tests`; one that is rejected causes a warning and is left out."""
    objective = problem.objective()
    gradients = test_gradients(problem.net, theta, problem.data.test_x[tests], problem.data.test_y[tests])
    estimates = []
    for number, method in enumerate(problem.spec.methods):
        context.progress("methods", number, len(problem.spec.methods))
        try:
            estimates.append(_one(problem, method, objective, theta, gradients, context))
        except FedlabError as fault:
            context.warn(f"{method.called} rejected: {fault}")
    return estimates


def _one(
    problem: Problem,
    method: HessianMethod,
    objective: Objective,
    theta: Tensor,
    gradients: Tensor,
    context: Context,
) -> Estimate:
    began = time.perf_counter()
    damping, progress = problem.spec.effective_damping, progress_of(context, f"{method.called}: steps")
    inverse = method.solver(objective, theta, damping, problem.seed, progress)
    solution = inverse.solve(gradients)
    values = influences(objective, theta, solution.x, problem.spec.removal)
    seconds = time.perf_counter() - began
    return Estimate(method.called, method.solves, values.double().cpu().numpy(), seconds, solution, inverse)


def norms_of_change(problem: Problem, theta: Tensor, answer: Estimate, rows: list[int]) -> NDArray[np.float64]:
    """||predicted change of the parameters|| when each of `rows` is left out: [len(rows)]."""
    vectors = changes(problem.objective(), theta, answer.inverse, rows, problem.spec.removal)
    return vectors.double().norm(dim=0).cpu().numpy()
