"""VoG: variance of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import Progress
from experiments.core.estimators.sample_score import SampleScore, Trail

if TYPE_CHECKING:
    from torch import Tensor


class VogScore(SampleScore):
    """Spread over checkpoints of the gradient in the input, averaged over pixels (Agarwal et al. 2022)."""

    kind: Literal["vog"] = "vog"
    target: Literal["loss", "logit", "probability"] = Field(
        default="loss", description="what is derived: the sample's loss, or the logit or probability of its label"
    )
    last: int | None = Field(default=None, ge=2, description="how many of the last checkpoints are read; null: all")

    label: ClassVar[str] = "VoG"
    order: ClassVar[int] = 10
    checkpoints: ClassVar[int] = 2
    passes: ClassVar[float] = 3

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """See `SampleScore.computed`."""
        from experiments.core.estimators.numerics.vog import variance_of_gradients

        if self.last and self.last > len(trail):
            todo = "lower it, or take more checkpoints (`every`, `rounds`)"
            raise SpecError(f"vog reads the last {self.last} of {len(trail)} checkpoints", "methods.vog.last", todo)
        states = trail.states[-self.reads(len(trail)) :]
        return variance_of_gradients(trail, states, self.target, progress)

    def reads(self, checkpoints: int) -> int:
        """The last ones."""
        return min(checkpoints, self.last or checkpoints)
