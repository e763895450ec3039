"""Conjugate gradients: the whole system, by products with the Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import HessianMethod, InverseHessian, Progress, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


class CgMethod(HessianMethod):
    """Block conjugate gradient."""

    kind: Literal["cg"] = "cg"
    tol: float = Field(default=1e-4, gt=0, lt=1, description="relative residual at which it stops")
    most: int = Field(default=500, ge=1, description="iterations at most")
    precondition: Literal["auto", "ggn", "none"] = Field(
        default="auto", description="explicit Gauss-Newton matrix; auto = small p"
    )
    negative: Literal["stop", "continue"] = Field(
        default="stop", description="what to do on meeting negative curvature"
    )

    label: ClassVar[str] = "conjugate gradient"
    order: ClassVar[int] = 20
    solves: ClassVar[bool] = True
    exact_with: ClassVar[Mapping[str, Any] | None] = {"tol": 1e-10}

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        from experiments.core.estimators._cg import ConjugateGradient

        return ConjugateGradient(objective, theta, damping, seed, progress, **self.options)
