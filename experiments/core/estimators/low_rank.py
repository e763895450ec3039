"""The inverse on the Hessian's leading eigenvectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import DISPATCH, HessianMethod, InverseHessian, Progress, Work, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


class LowRankMethod(HessianMethod):
    """The Hessian's largest eigenvalues only (Schioppa et al. 2022)."""

    kind: Literal["low_rank"] = "low_rank"
    rank: int = Field(default=100, ge=1, description="eigenvectors kept")
    outside: bool = Field(default=True, description="take the rest of the space for flat, inverted to 1/damping")

    label: ClassVar[str] = "low rank"
    order: ClassVar[int] = 40
    exact_with: ClassVar[Mapping[str, Any] | None] = {"rank": 100}

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        from experiments.core.estimators._low_rank import LowRank

        return LowRank(objective, theta, damping, seed, progress, **self.options)

    def price(self, work: Work) -> float:
        """Seconds of twice as many products as eigenvectors are kept."""
        return 2 * self.rank * (DISPATCH + work.tests * work.product)
