"""No Hessian at all: the plain inner product of gradients, as a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.inverse_hessian import HessianMethod, InverseHessian, Progress, Solution, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


class GradientMethod(HessianMethod):
    """The inner product of gradients, at one checkpoint (Pruthi et al. 2020)."""

    kind: Literal["gradient"] = "gradient"

    label: ClassVar[str] = "gradient product"
    order: ClassVar[int] = 60
    products: ClassVar[int] = 2

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        return Gradient(objective, theta, damping, seed, progress)


class Gradient(InverseHessian):
    """Takes H + damping I for the identity: x = v."""

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`."""
        return Solution(vectors.clone(), self.residual(vectors, vectors), 0)
