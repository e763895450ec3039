"""pydantic's errors as `file:line: key: message; did you mean 'x'?`."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from experiments.core.errors import suggestion
from experiments.core.spec.values import Fault, Key, Tree, brief

MOST_ERRORS = 1000
"""Limit on the errors processed; a list of wrong values gives one each."""


def faults_of(error: ValidationError, cls: type[BaseModel], tree: Tree) -> list[Fault]:
    """The faults pydantic found in `tree`, with their locations."""
    faults = []
    for item in error.errors(include_url=False)[:MOST_ERRORS]:
        path = _path(item["loc"], tree.value)
        if item["type"] == "too_short" and item["input"]:
            continue  # pydantic counts only the valid items; the others are reported separately
        if item["type"] == "value_error":
            faults += _crosswise(str(item["ctx"]["error"]), path, tree)
            continue
        what, hint = _words(item, path, cls, tree.value)
        if item["type"].startswith("union_tag"):
            path = (*path, "kind")
        faults.append(Fault(tree.origin(path), ".".join(path), what, hint))
    return faults


def _path(loc: tuple[int | str, ...], value: Any) -> Key:
    """Pydantic's location without the union tags that it inserts."""
    path: list[str] = []
    for place, part in enumerate(loc, 1):
        if value == part or (isinstance(value, dict) and part not in value and _is_tag(part, value, place < len(loc))):
            continue  # a word is short for the block of that kind
        path.append(str(part))
        if isinstance(value, list):
            value = value[part] if isinstance(part, int) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return tuple(path)


def _is_tag(part: int | str, value: dict[str, Any], inner: bool) -> bool:
    """Whether `part` is the kind of the block `value`, or, within a location, the kind of one that names none."""
    return value["kind"] == part if "kind" in value else inner


def _crosswise(message: str, path: Key, tree: Tree) -> list[Fault]:
    """Faults of a check across fields: lines of "key: message", reported at the location of `key`."""
    faults = []
    for line in message.splitlines():
        head, colon, rest = line.partition(": ")
        named = (*path, *head.split(".")) if colon and " " not in head else path
        faults.append(Fault(tree.origin(named), ".".join(named), rest if named != path else line))
    return faults


def _words(item: Any, path: Key, cls: type[BaseModel], value: Any) -> tuple[str, str]:
    """The message for one pydantic error, and the hint."""
    kind, entered, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key", suggestion(path[-1], _known(cls, path[:-1], value))
    if kind == "missing":
        return "is required", "add it"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in context["expected_tags"].split(", ")]
        return f"unknown kind {brief(context['tag'])}", suggestion(context["tag"], tags)
    if kind == "union_tag_not_found":
        return "needs a `kind`", "see `fedlab list --kinds`"
    if kind == "literal_error" and isinstance(entered, str):
        names = [n.strip().strip("'") for n in context["expected"].replace(" or ", ", ").split(", ")]
        return f"unknown value {brief(entered)}", suggestion(entered, names)
    message = item["msg"][0].lower() + item["msg"][1:]
    simple = entered is None or isinstance(entered, (str, int, float, bool))
    return message + (f" (got {brief(entered)})" if simple else ""), ""


def _known(cls: type[BaseModel], path: Key, value: Any) -> list[str]:
    """Names of the keys allowed in the block at `path`."""
    blocks: list[type[BaseModel]] = []
    for key in path:
        if isinstance(value, list):
            value = value[int(key)]
        else:
            value = value.get(key) if isinstance(value, dict) else None
            field = cls.model_fields.get(key)
            blocks = _blocks(field.annotation) if field else []
        kind = value.get("kind") if isinstance(value, dict) else None
        chosen = [block for block in blocks if _is_of(block, kind)]
        if not chosen:
            return []
        cls = chosen[0]
    return list(cls.model_fields)


def _is_of(block: type[BaseModel], kind: Any) -> bool:
    """Whether a mapping with this kind (None: without one) can be such a block."""
    tag = block.model_fields.get("kind")
    return tag is None or kind is None or tag.default == kind


def _blocks(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic class named inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [block for part in get_args(annotation) for block in _blocks(part)]
