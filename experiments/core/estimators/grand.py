"""GraNd: the norm of a sample's gradient early in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class GrandScore(SampleScore):
    """Norm of each sample's gradient at an early checkpoint (Paul et al. 2021; there the mean of ten runs)."""

    kind: Literal["grand"] = "grand"
    at: int = Field(default=1, ge=1, description="checkpoint that is read, from 1, the earliest")

    label: ClassVar[str] = "GraNd"
    order: ClassVar[int] = 60
    passes: ClassVar[float] = 4

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.sample_passes import gradient_norms, read_at

        return read_at(trail, self.picked(trail, self.at), gradient_norms(trail), progress)[0]
