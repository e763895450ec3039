"""The loss of each sample, which many take for its difficulty."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class LossScore(SampleScore):
    """Loss of each sample at the last checkpoint, in nats."""

    kind: Literal["loss"] = "loss"

    label: ClassVar[str] = "loss"
    order: ClassVar[int] = 30

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.sample_passes import losses, read_at

        return read_at(trail, trail.states[-1:], losses(trail), progress)[0]
