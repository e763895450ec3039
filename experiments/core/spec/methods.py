"""The fields of a spec that list methods: a word is short for a method with its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from experiments.core.estimators.method import Method, known
from experiments.core.spec.fields import union


def _block(entry: Any) -> Any:
    """A word as the block of that kind."""
    return {"kind": entry} if isinstance(entry, str) else entry


def one_of(family: type[Method]) -> Any:
    """The type of one method of a family in a spec: `cg`, or `{kind: cg, tol: 1e-6}`."""
    return Annotated[union(known(family).values()), BeforeValidator(_block)]


def named_twice(key: str, methods: Sequence[Method]) -> list[str]:
    """The fault of a list that holds two methods of one kind, whose results would have one name."""
    kinds = [method.called for method in methods]
    repeated = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    return [] if repeated is None else [f"{key}: one is named twice: {repeated}"]
