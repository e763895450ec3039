"""The fields of a block in words, derived from the pydantic classes so that nothing is documented twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null", Any: "anything"}


@dataclass(frozen=True)
class Described:
    """A field: its name, the type in words, the default as YAML ("" where it is required), and its description."""

    name: str
    type: str
    default: str
    what: str


def fields(block: type[BaseModel]) -> Iterator[Described]:
    """The fields of a block in the order of definition, without its `kind`."""
    for name, field in block.model_fields.items():
        if name != "kind":
            default = "" if field.is_required() else written(field.get_default(call_default_factory=True))
            yield Described(name, words(field.annotation), default, field.description or "")


def written(value: Any) -> str:
    """A value as YAML on one line."""
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: Any) -> Any:
    """A field's value as JSON types."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def blocks(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The blocks that a field's value, or an item of it, can be; empty if it is not a block."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) in (Union, UnionType, Annotated, tuple):
        return tuple(block for part in get_args(annotation) for block in blocks(part))
    return ()


def words(annotation: Any) -> str:
    """A type in words, e.g. "integer or null", "list of text", "one of sgd, adam"."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words(parts[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(words, parts)))
    if origin in (tuple, list):
        return f"list of {' and '.join(dict.fromkeys(words(part) for part in parts if part is not Ellipsis))}"
    if origin is dict:
        return f"mapping to {words(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        return f"block {kind.default}" if kind else "block"
    return _PLAIN.get(annotation, str(getattr(annotation, "__name__", annotation)))


def doc(block: type[BaseModel]) -> str:
    """The first line of a block's docstring."""
    return (block.__doc__ or "").strip().partition("\n")[0]
