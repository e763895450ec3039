"""The norm of each sample's gradient at the end of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class GradNormScore(SampleScore):
    """Norm of each sample's gradient at the last checkpoint, unclipped and without noise."""

    kind: Literal["grad_norm"] = "grad_norm"

    label: ClassVar[str] = "gradient norm"
    order: ClassVar[int] = 40
    passes: ClassVar[float] = 4

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.sample_passes import gradient_norms, read_at

        return read_at(trail, trail.states[-1:], gradient_norms(trail), progress)[0]
