"""PLIS: the privacy loss-input susceptibility of each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class PlisScore(SampleScore):
    """How fast a sample's squared gradient norm over sigma^2 changes with its input (Mueller et al. 2022, Eq. 3-4)."""

    kind: Literal["plis"] = "plis"
    sigma: float = Field(
        default=1.0, gt=0, description="noise multiplier in the privacy loss; a constant factor of all scores"
    )

    label: ClassVar[str] = "PLIS"
    order: ClassVar[int] = 20
    passes: ClassVar[float] = 8

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.plis import plis

        return plis(trail.net, trail.states[-1], trail.x, trail.y, self.sigma, progress)
