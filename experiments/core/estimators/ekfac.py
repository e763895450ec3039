"""EK-FAC: the Fisher matrix layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import HessianMethod, InverseHessian, Progress, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


class EkfacMethod(HessianMethod):
    """Eigenvalue-corrected Kronecker factors (George et al. 2018)."""

    kind: Literal["ekfac"] = "ekfac"
    empirical: bool = Field(default=False, description="the data's labels instead of labels drawn from the model")

    label: ClassVar[str] = "EK-FAC"
    order: ClassVar[int] = 50
    products: ClassVar[int] = 6

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        from experiments.core.estimators._ekfac import Ekfac

        return Ekfac(objective, theta, damping, seed, progress, **self.options)
