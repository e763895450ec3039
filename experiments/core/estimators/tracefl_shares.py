"""TraceFL with the shares of Eq. 5."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from experiments.core.estimators._tracefl import Tracefl


class TraceflShares(Tracefl):
    """TraceFL with p_k, as Eq. 5 of the paper prints it."""

    kind: Literal["tracefl_shares"] = "tracefl_shares"
    shares: bool = Field(default=True, description="weigh contributions by p_k (Eq. 5)")

    label: ClassVar[str] = "TraceFL, with $p_k$"
    order: ClassVar[int] = 20
