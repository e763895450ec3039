"""The base of every block of a spec: frozen, strict, no unknown keys. Imports no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A part of a YAML spec. Each field has a default and a description; a family of blocks is told apart by `kind`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
