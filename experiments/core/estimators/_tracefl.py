"""TraceFL's options and its scores: the members of its family differ in the defaults alone. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.estimators.provenance import ProvenanceMethod, Traced

if TYPE_CHECKING:
    from torch import Tensor


class Tracefl(ProvenanceMethod):
    """Sums of what a participant's layers contribute to the predicted logit (Gill et al. 2025, Eq. 6)."""

    decay: float = Field(default=0.9, gt=0, le=1, description="beta of a layer over that of the next; 1 turns beta off")
    bias: Literal["all", "none", "centred"] = Field(default="all", description="all (the artefact), none, centred")
    shares: bool = Field(default=False, description="weigh contributions by p_k (Eq. 5); the artefact does not")

    def scores(self, traced: Traced) -> Tensor:
        """See `ProvenanceMethod.scores`."""
        from experiments.core.estimators.numerics.tracefl import provenance

        shares = traced.shares if self.shares else None
        return provenance(traced.contributions, decay=self.decay, shares=shares, bias=self.bias)
