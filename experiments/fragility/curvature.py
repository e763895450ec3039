"""The curvature that searches for optima start from."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.engine.newton import Curvature, inverse
from experiments.core.engine.objective import Objective
from experiments.core.estimators.ggn import ggn
from experiments.core.estimators.inverse_hessian import hessian

WRITTEN_OUT = 1000
"""Up to so many parameters the Hessian is written out; beyond, the Gauss-Newton matrix takes its place."""

LARGEST = 8192
"""Parameters above which even that is too large."""


def inverse_curvature(objective: Objective, theta: Tensor) -> Curvature:
    """About the inverse Hessian at theta: the Hessian's own for small models, else the Gauss-Newton matrix's."""
    if objective.net.p <= WRITTEN_OUT:
        return inverse(hessian(objective, theta).to(theta))
    matrix = ggn(objective, theta)
    matrix.diagonal().add_(objective.penalty_gradient(torch.ones_like(theta[: objective.net.p])))
    ridge = 1e-6 * float(matrix.diagonal().mean())  # directions without curvature or decay
    matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    while int(failed):
        ridge *= 10
        matrix.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(matrix)
    return lambda rows: torch.cholesky_solve(rows.reshape(-1, len(factor)).T, factor).T.reshape(rows.shape)
