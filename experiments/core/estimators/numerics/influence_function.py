"""Influence functions (Koh and Liang 2017): what removing training samples would change, predicted from one model.

Signs and scales: an influence here is the PREDICTED CHANGE OF THE TEST LOSS WHEN THE SAMPLE IS REMOVED; positive means
a helpful sample. Basu et al. (2021, Eq. 5) write the opposite sign and leave out 1/n. The objective counts its penalty
once for all samples, so each sample carries loss_z + penalty, and with m samples left the mean is over m: the exact
first-order factor is 1 / (n - 1); Koh and Liang's code and Basu et al. take 1 / n.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.engine.per_sample import per_sample_gradients
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import InverseHessian

_TOGETHER = 64
"""Training samples whose parameter changes are solved for at once."""


def test_gradients(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each test sample's loss without the penalty: theta [size], x [T, ...], y [T] -> [p, T]."""
    return per_sample_gradients(net, theta, x, y).T


def influences(objective: Objective, theta: Tensor, solved: Tensor, over: str = "n") -> Tensor:
    """Predicted change of each test loss when each training sample is removed (Basu et al. 2021, Eq. 5): [T, n].

    <h_t, gradient of loss_z + penalty> / n, for all samples at once, without forming a sample's gradient.

    Args:
        objective: holds the n training samples.
        theta: [size] the trained state.
        solved: [p, T], h_t = (H + damping I)^-1 (gradient of test loss t), see `InverseHessian.solve`.
        over: "n" or "n-1", what the sum is divided by.

    Raises:
        SpecError: on another `over`.
    """
    fitted = objective.fitted(theta, solved.shape[1])
    penalty = objective.penalty_gradient(theta[: objective.net.p]) @ solved
    return (fitted.slopes(theta, solved) + penalty[:, None]) / _count(objective, over)


def changes(
    objective: Objective, theta: Tensor, inverse: InverseHessian, rows: Sequence[int], over: str = "n"
) -> Tensor:
    """Predicted change of the parameters when each of the training samples `rows` is removed (Eq. 4): [p, len(rows)].

    (H + damping I)^-1 (gradient of loss_z + penalty) / n.

    Raises:
        SpecError: on an `over` other than "n" and "n-1", or from the solver.
    """
    count, solved = _count(objective, over), []
    penalty = objective.penalty_gradient(theta[: objective.net.p])
    for part in torch.as_tensor(rows, device=theta.device).split(_TOGETHER):
        gradients = per_sample_gradients(objective.net, theta, objective.x[part], objective.y[part]) + penalty
        solved.append(inverse.solve(gradients.T.contiguous()).x / count)
    return torch.cat(solved, 1)


def group_influence(influences: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Predicted change when whole groups are removed, first order: sums of influences [T, n] -> [T, len(groups)]."""
    return torch.stack([influences[:, list(group)].sum(1) for group in groups], 1)


def _count(objective: Objective, over: str) -> int:
    if over not in ("n", "n-1"):
        raise SpecError(f"influence over {over!r}", "over", "use n or n-1")
    return objective.n - (over == "n-1")
