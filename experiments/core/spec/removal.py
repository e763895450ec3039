"""Which training samples are left out: blocks of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.spec.fields import raised


class CandidateSpec(Block):
    """A set of training samples whose removal is tried, picked by the first method's influence on a test point."""

    pick: Literal["top", "lowest", "percentile", "random", "all"] = Field(
        description="largest or smallest |influence|, nearest to a percentile of the influence, random, all"
    )
    count: int | None = Field(None, ge=3, description="how many; excludes share")
    share: float | None = Field(None, gt=0, le=1, description="share of the training samples")
    at: float = Field(30.0, ge=0, le=100, description="the percentile")
    signed: bool = Field(False, description="pick by the signed influence instead of its absolute value")
    name: str | None = Field(None, pattern=r"[A-Za-z0-9_.]+", description="name in results; default: pick, or p30")

    @property
    def label(self) -> str:
        """The name in results."""
        return self.name or (f"p{self.at:g}" if self.pick == "percentile" else self.pick)

    @model_validator(mode="after")
    def _agree(self) -> CandidateSpec:
        sizes = (self.count is not None) + (self.share is not None)
        wrong = sizes != (0 if self.pick == "all" else 1)
        return raised(self, ["count: give count or share (and neither for all)"] if wrong else [])


class GroupSpec(Block):
    """Groups of samples removed together (section 9.11)."""

    sizes: tuple[int, ...] = Field(min_length=1, description="samples of a group")
    count: int = Field(20, ge=3, description="groups of each size")
