"""How far a participant's update reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.provenance import Traced, UpdateMethod

if TYPE_CHECKING:
    from torch import Tensor


class Norm(UpdateMethod):
    """Euclidean norm of the participant's update."""

    kind: Literal["norm"] = "norm"

    label: ClassVar[str] = "norm of the update"
    order: ClassVar[int] = 70

    def scores(self, traced: Traced) -> Tensor:
        """See `ProvenanceMethod.scores`."""
        from experiments.core.estimators.numerics import update

        return update.norm(traced.record.before, traced.record.locals).expand(traced.n, -1)
