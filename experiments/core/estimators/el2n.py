"""EL2N: the error of a sample's probabilities early in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class El2nScore(SampleScore):
    """Norm of softmax minus one-hot label at an early checkpoint (Paul et al. 2021; there the mean of ten runs)."""

    kind: Literal["el2n"] = "el2n"
    at: int = Field(default=1, ge=1, description="checkpoint that is read, from 1, the earliest")

    label: ClassVar[str] = "EL2N"
    order: ClassVar[int] = 50

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.sample_passes import errors, read_at

        return read_at(trail, self.picked(trail, self.at), errors(trail), progress)[0]
