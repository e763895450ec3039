"""Forgetting: how often a sample that was classified rightly is not any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class ForgettingScore(SampleScore):
    """Changes from right to wrong between checkpoints (Toneva et al. 2019); never right counts as one more than most.

    There a sample is looked at whenever a batch holds it, here at every checkpoint.
    """

    kind: Literal["forgetting"] = "forgetting"

    label: ClassVar[str] = "forgetting"
    order: ClassVar[int] = 70
    checkpoints: ClassVar[int] = 2

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.sample_passes import forgotten, read_at, right

        return forgotten(read_at(trail, trail.states, right(trail), progress))

    def reads(self, checkpoints: int) -> int:
        """All of them."""
        return checkpoints
