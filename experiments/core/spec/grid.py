"""The axes of a setting: which values are varied, and how results name a point of the grid."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from experiments.core.block import Block
from experiments.core.spec import role
from experiments.core.spec.role import Role
from experiments.core.subject import subject

S = TypeVar("S", bound=Block)

_Values = Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]
_Named = Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
Axes = dict[str, _Named | _Values]
"""An axis is a dotted key with its values, or a word with named choices, each a set of dotted keys and values.

A choice that is null is left out (a scale can drop a choice of its setting)."""

Point = dict[str, str]
"""One choice on every axis, by its word, as written in results: {"activation": "relu", "wd": "0.005"}."""

MOST_CELLS = 10_000
"""Limit on a setting's grid points times seeds."""

_NO_WORDS: Mapping[str, str] = {}
_NEVER = (Role.IDENTITY, Role.EXPERIMENT, Role.REPEATS, Role.AXES)  # of fields that no axis can vary


def points(
    axes: Axes, order: Sequence[str] = (), words: Mapping[str, str] = _NO_WORDS
) -> Iterator[tuple[Point, dict[str, Any]]]:
    """Every combination of the axes' choices, with the dotted keys it sets; one empty point without axes.

    Args:
        axes: the setting's. order: words in the order of results; others follow, sorted.
        words: dotted key -> its word in results, where that is not the key's last part.
    """
    for chosen in product(*(_choices(key, values, words) for key, values in axes.items())):
        names = {word: name for word, name, _ in chosen}
        known = [word for word in order if word in names]
        ordered = {word: names[word] for word in [*known, *sorted(set(names) - set(known))]}
        yield ordered, {key: value for _, _, keys in chosen for key, value in keys.items()}


def _choices(key: str, values: Any, words: Mapping[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(word, name of the choice, dotted keys it sets) of one axis."""
    if isinstance(values, dict):
        return [(key, name, keys) for name, keys in values.items() if keys is not None]
    word = words.get(key, key.rpartition(".")[2])
    return [(word, f"{v:g}" if isinstance(v, float | int) else str(v), {key: v}) for v in values]


def label(point: Point) -> str:
    """The point as subjects of results begin: `activation=relu depth=3 wd=0.005`."""
    return subject(**point)


def at(spec: S, keys: dict[str, Any]) -> S:
    """The setting with dotted `keys` set (blocks before their content) and without its grid.

    A block of another kind replaces the old one entirely.

    Raises:
        pydantic.ValidationError: a value that does not fit, or an unknown key. KeyError: an unknown block.
        TypeError, AttributeError: a key inside something that is not a block.
    """
    tree = json.loads(spec.model_dump_json())
    tree["grid"] = {}
    for key, value in sorted(keys.items(), key=lambda item: item[0].count(".")):
        block, last = _holder(tree, key)
        old = block.get(last)
        block[last] = {**old, **value} if _same_kind(old, value) else value
    return type(spec).model_validate_json(json.dumps(tree))


def _holder(tree: Any, key: str) -> tuple[Any, str]:
    """The block that holds the dotted `key`, and the key's last part."""
    *path, last = key.split(".")
    for name in path:
        tree = tree[name]
    return tree, last


def _same_kind(old: Any, value: Any) -> bool:
    both = isinstance(old, dict) and isinstance(value, dict)
    return both and value.get("kind", old.get("kind")) == old.get("kind")


def faults_of_grid(spec: Block, axes: Axes, words: Mapping[str, str] = _NO_WORDS) -> list[str]:
    """Faults of the axes of `spec`: too many points, two axes on one key, and whatever `fault_at` reports."""
    if not axes:
        return []
    if fault := _fault_of_axes(axes, words, len(getattr(spec, "seeds", (0,))), role.keys(type(spec), *_NEVER)):
        return [f"grid: {fault}"]
    seen: set[str] = set()
    for point, keys in points(axes, words=words):
        point_label = ", ".join(f"{word}={name}" for word, name in point.items())
        if label(point) in seen:
            return [f"grid: {point_label} is there twice"]
        seen.add(label(point))
        if fault := fault_at(spec, keys):
            return [f"grid: {point_label}: {fault}"]
    return []


def _fault_of_axes(axes: Axes, words: Mapping[str, str], seeds: int, never: Collection[str]) -> str:
    """A fault of the axes that shows before any point is tried, or ""."""
    choices = {axis: _choices(axis, values, words) for axis, values in axes.items()}
    if empty := [axis for axis, options in choices.items() if not options]:
        return f"{empty[0]} has no choice left"
    cells = math.prod(len(options) for options in choices.values()) * seeds
    if cells > MOST_CELLS:
        return f"{cells} combinations of choices and seeds; at most {MOST_CELLS}"
    owner: dict[str, str] = {}
    for axis, options in choices.items():
        for key in sorted({leaf for _, _, keys in options for leaf in _leaves(keys)}):
            if owner.setdefault(key, axis) != axis:
                return f"{owner[key]} and {axis} both set {key}"
    if banned := [key for key in owner if key.split(".")[0] in never]:
        return f"{banned[0]} cannot be varied"
    return ""


def _leaves(keys: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of the values that are not blocks."""
    for key, value in keys.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def fault_at(spec: Block, keys: dict[str, Any]) -> str:
    """Why `spec` is invalid at a point, or ""."""
    try:
        at(spec, keys)
    except KeyError as error:
        return f"unknown key {error.args[0]!r}"
    except (TypeError, AttributeError):
        return f"{', '.join(keys)} is no key of this setting"
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            return f"unknown key {str(first['loc'][-1])!r}"
        where = ".".join(str(part) for part in first["loc"])
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    return ""
