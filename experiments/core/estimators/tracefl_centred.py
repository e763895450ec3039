"""TraceFL without what the biases of all participants have in common."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from experiments.core.estimators._tracefl import Tracefl


class TraceflCentred(Tracefl):
    """TraceFL with biases less their mean over the participants."""

    kind: Literal["tracefl_centred"] = "tracefl_centred"
    bias: Literal["all", "none", "centred"] = Field(default="centred", description="biases: all, none, centred")

    label: ClassVar[str] = "TraceFL, centred biases"
    order: ClassVar[int] = 40
