"""The role of a setting's field, declared on the field: which keys change no number of a cell, and why.

    seeds: Annotated[tuple[int, ...], Role.REPEATS] = Field(...)

A field without a role is taken to change every number, so a new field is safe by default.
"""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel


class Role(Enum):
    """What a field is for, other than a value that a cell computes with."""

    IDENTITY = "which setting it is: names where its results belong"
    EXPERIMENT = "which of its paper's specs it is"
    WORDS = "words for the reader"
    PACE = "when something is done, never what is computed"
    ROUNDING = "how it is computed: moves a number by rounding alone"
    REPEATS = "which cells there are; cells of other values may be stored beside them"
    AXES = "which cells there are, and what their results are called"


NO_NUMBER = (Role.WORDS, Role.PACE, Role.ROUNDING, Role.REPEATS, Role.AXES)
"""Roles of fields that change no number of a cell: each cell has its own value of REPEATS and AXES."""

SHARED = (Role.WORDS, Role.PACE, Role.REPEATS)
"""Roles of fields in which settings with results in the same folder may differ."""


def role(block: type[BaseModel], key: str) -> Role | None:
    """The role of the field `key`, None where it is a value that numbers come from."""
    return next((part for part in block.model_fields[key].metadata if isinstance(part, Role)), None)


def keys(block: type[BaseModel], *roles: Role) -> frozenset[str]:
    """The fields of `block` that have one of `roles`."""
    return frozenset(key for key in block.model_fields if role(block, key) in roles)
