"""TraceFL without the weights of layers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from experiments.core.estimators._tracefl import Tracefl


class TraceflFlat(Tracefl):
    """TraceFL with beta 1 in every layer."""

    kind: Literal["tracefl_flat"] = "tracefl_flat"
    decay: float = Field(default=1.0, gt=0, le=1, description="beta of a layer over that of the next; 1 turns beta off")

    label: ClassVar[str] = "TraceFL, without layer weights"
    order: ClassVar[int] = 30
