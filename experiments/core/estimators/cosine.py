"""How well a participant's update agrees with the round's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.provenance import Traced, UpdateMethod

if TYPE_CHECKING:
    from torch import Tensor


class Cosine(UpdateMethod):
    """Cosine of the participant's update with the round's."""

    kind: Literal["cosine"] = "cosine"

    label: ClassVar[str] = "cosine of the update"
    order: ClassVar[int] = 60

    def scores(self, traced: Traced) -> Tensor:
        """See `ProvenanceMethod.scores`."""
        from experiments.core.estimators.numerics import update

        record = traced.record
        return update.cosine(record.before, record.aggregate, record.locals).expand(traced.n, -1)
