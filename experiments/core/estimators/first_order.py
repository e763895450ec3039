"""The fall of the predicted logit without a participant, forecast to first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.core.estimators.provenance import ProvenanceMethod, Traced

if TYPE_CHECKING:
    from torch import Tensor


class FirstOrder(ProvenanceMethod):
    """The forecast fall of the logit without the participant in the round (after Xue et al. 2021, Eq. 10)."""

    kind: Literal["first_order"] = "first_order"

    label: ClassVar[str] = "first-order leave-one-out"
    order: ClassVar[int] = 50

    def scores(self, traced: Traced) -> Tensor:
        """See `ProvenanceMethod.scores`."""
        from experiments.core.estimators.numerics.tracefl import first_order

        return -first_order(traced.contributions, traced.shares, noisy=traced.noisy)
