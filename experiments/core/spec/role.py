"""What a field of a setting is for, said on the field: which keys change no number of a cell, and why.

    seeds: Annotated[tuple[int, ...], Role.REPEATS] = Field(...)

A field without a role can change every number, so that a new one is safe when nothing is said.
"""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel


class Role(Enum):
    """What a field is for besides giving a cell a value to compute with."""

    IDENTITY = "which setting it is: names where its results belong"
    EXPERIMENT = "which of its paper's specs it is"
    WORDS = "words for the reader"
    PACE = "when something is done, never what is computed"
    ROUNDING = "how it is computed: moves a number by rounding alone"
    REPEATS = "which cells there are; cells of other values may lie beside them"
    AXES = "which cells there are, and what their results are called"


NO_NUMBER = (Role.WORDS, Role.PACE, Role.ROUNDING, Role.REPEATS, Role.AXES)
"""Roles of fields that change no number of a cell: of REPEATS and AXES each cell has its own value."""

SHARED = (Role.WORDS, Role.PACE, Role.REPEATS)
"""Roles of fields in which two settings may differ whose results lie in one folder."""


def role(block: type[BaseModel], key: str) -> Role | None:
    """The role of the field `key`, None where it is a value that numbers come from."""
    return next((part for part in block.model_fields[key].metadata if isinstance(part, Role)), None)


def keys(block: type[BaseModel], *roles: Role) -> frozenset[str]:
    """The fields of `block` that have one of `roles`."""
    return frozenset(key for key in block.model_fields if role(block, key) in roles)
