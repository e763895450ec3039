"""TraceFL as its published code computes it."""

from __future__ import annotations

from typing import ClassVar, Literal

from experiments.core.estimators._tracefl import Tracefl


class TraceflMethod(Tracefl):
    """What each layer contributes to the predicted logit, summed (Gill et al. 2025, Eq. 6)."""

    kind: Literal["tracefl"] = "tracefl"

    label: ClassVar[str] = "TraceFL"
    order: ClassVar[int] = 10
