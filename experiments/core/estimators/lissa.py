"""LiSSA: the inverse as a recursion on mini-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import DISPATCH, HessianMethod, InverseHessian, Progress, Work, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective


_DEPTH = 5000  # steps where they are left open, to price them


class LissaMethod(HessianMethod):
    """Stochastic estimation (Agarwal et al. 2016)."""

    kind: Literal["lissa"] = "lissa"
    scale: float | None = Field(default=None, gt=0, description="null = from the measured top eigenvalue")
    depth: int | None = Field(default=None, ge=1, description="recursions; null = chosen with the scale")
    repeats: int = Field(default=1, ge=1, description="independent estimates that are averaged")
    batch_size: int = Field(default=100, ge=1, description="samples of one Hessian estimate")

    label: ClassVar[str] = "stochastic (LiSSA)"
    order: ClassVar[int] = 30
    exact_with: ClassVar[Mapping[str, Any] | None] = {"depth": 300}

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """See `HessianMethod.solver`."""
        from experiments.core.estimators._lissa import Lissa

        return Lissa(objective, theta, damping, seed, progress, **self.options)

    def price(self, work: Work) -> float:
        """Seconds of all steps, a product with a mini-batch's Hessian each."""
        share = min(1.0, self.batch_size / max(1, work.samples))
        steps = (self.depth or _DEPTH) * self.repeats
        return steps * (DISPATCH + work.tests * share * work.product)
