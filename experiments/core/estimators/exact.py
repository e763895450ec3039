"""The explicit Hessian, written out and inverted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.core.estimators.inverse_hessian import DISPATCH, HessianMethod, InverseHessian, Progress, Work, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


class ExactMethod(HessianMethod):
    """The explicit Hessian, inverted as it is (Basu et al. 2021, section 5.1)."""

    kind: Literal["exact"] = "exact"

    label: ClassVar[str] = "exact Hessian"
    order: ClassVar[int] = 10
    solves: ClassVar[bool] = True
    exact_with: ClassVar[Mapping[str, Any] | None] = {}

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        from experiments.core.estimators.numerics.explicit import Explicit

        return Explicit(objective, theta, damping, seed, progress)

    def price(self, work: Work) -> float:
        """Seconds of p products, 64 at once."""
        return work.p * work.product + DISPATCH * (1 + work.p / 64)

    def memory(self, p: int) -> int:
        """Bytes of the Hessian in float64 and of what factorises it."""
        return 3 * 8 * p * p
