"""A commented spec to start from: a setting's values, every field with its description, type and default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.core.spec.describe import blocks, plain, words, written
from experiments.core.spec.fields import CustomModel
from experiments.core.spec.load import Loaded
from experiments.core.spec.role import Role, keys

_WIDTH = 116


def template(small: Loaded, smoke: Loaded) -> str:
    """The text of a spec like `small`, which at scale smoke is `smoke`; both without a grid."""
    name = small.paper.name
    lines = [
        f"# Run it:   fedlab {name} --config THIS_FILE    (in seconds: --scale smoke)",
        "# Check it: fedlab validate THIS_FILE",
        "# A line behind # is a default: take the # away to change it. Kinds of blocks: fedlab list --kinds.",
        f"paper: {name}",
        "",
        *_block(small.spec, 0),
        "",
        "# What --scale smoke, small and paper change.",
        "scales:",
    ]
    overlay = _difference(plain(small.spec), plain(smoke.spec))
    of_the_file = _of_the_file(type(small.spec))
    shown = {key: value for key, value in overlay.items() if key not in of_the_file}
    lines += (
        ["  smoke:", *(f"    {key}: {written(value)}" for key, value in shown.items())] if shown else ["  smoke: {}"]
    )
    return "\n".join([*lines, "  small: {}", "  paper: {}"]) + "\n"


def _of_the_file(block: type[BaseModel]) -> frozenset[str]:
    """The fields that every file sets for itself."""
    return keys(block, Role.IDENTITY, Role.WORDS)


def _block(block: BaseModel, depth: int) -> Iterator[str]:
    """The lines of a block's fields, those of the file itself left out."""
    of_the_file = _of_the_file(type(block))
    for key, field in type(block).model_fields.items():
        if key != "kind" and key not in of_the_file:
            yield from _field(key, field, getattr(block, key), depth)


def _field(key: str, field: FieldInfo, value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    accepted = [b for b in blocks(field.annotation) if "kind" in b.model_fields and b is not CustomModel]
    kinds = [str(b.model_fields["kind"].default) for b in accepted]
    of = f"kinds: {', '.join(kinds)}" if kinds else words(field.annotation)
    default = field.get_default(call_default_factory=True)
    requirement = "required" if field.is_required() else f"default {written(default)}" if not kinds else "has a default"
    yield from _remark(f"{field.description or ''} ({of}; {requirement})", indent)
    if isinstance(value, BaseModel) and value != default:
        yield f"{indent}{key}:"
        if kind := getattr(value, "kind", None):
            yield f"{indent}  kind: {kind}"
        yield from _block(value, depth + 1)
        return
    same = not field.is_required() and value == default
    yield f"{indent}{'# ' if same else ''}{key}: {written(value)}"


def _remark(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(indent)):
        yield f"{indent}# {line}"


def _difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The overlay that turns `old` into `new`; a block of another kind is included entirely."""
    changed: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        both = isinstance(before, dict) and isinstance(value, dict) and before.get("kind") == value.get("kind")
        if value != before:
            changed[key] = _difference(before or {}, value) if both else value
    return changed
