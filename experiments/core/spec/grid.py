"""The axes of a setting: which values are varied, and how a point of the grid is called in results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from experiments.core.block import Block

S = TypeVar("S", bound=Block)

_Values = Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]
_Named = Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
Axes = dict[str, _Named | _Values]
"""An axis is a dotted key with its values, or a word with named choices, each a set of dotted keys and values.

A choice that is null is left out (a scale may drop what its setting has)."""

Point = dict[str, str]
"""One choice on every axis, by its word and as it is written in results: {"activation": "relu", "wd": "0.005"}."""

_NO_WORDS: Mapping[str, str] = {}
_NEVER = ("grid", "seeds", "name", "paper", "scale", "experiment")


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
    return " ".join(f"{word}={name}" for word, name in point.items())


def at(spec: S, keys: dict[str, Any]) -> S:
    """The setting with dotted `keys` put in and no grid. A block of another kind replaces the old one whole.

    Raises:
        pydantic.ValidationError: a value that does not fit. KeyError: an unknown key.
    """
    tree = json.loads(spec.model_dump_json())
    tree["grid"] = {}
    for key, value in keys.items():
        *path, last = key.split(".")
        block = tree
        for name in path:
            block = block[name]
        old = block[last]
        block[last] = {**old, **value} if _same_kind(old, value) else value
    return type(spec).model_validate_json(json.dumps(tree))


def _same_kind(old: Any, value: Any) -> bool:
    both = isinstance(old, dict) and isinstance(value, dict)
    return both and value.get("kind", old.get("kind")) == old.get("kind")


def faults_of_grid(spec: Block, axes: Axes, words: Mapping[str, str] = _NO_WORDS) -> list[str]:
    """What is wrong with the axes of `spec`: unknown keys, values that do not fit, two choices of one name."""
    if not axes:
        return []
    seen: set[str] = set()
    if empty := [key for key, values in axes.items() if not _choices(key, values, words)]:
        return [f"grid: {empty[0]} has no choice left"]
    for point, keys in points(axes, words=words):
        told = ", ".join(f"{word}={name}" for word, name in point.items())
        if label(point) in seen:
            return [f"grid: {told} is there twice"]
        seen.add(label(point))
        if banned := [key for key in keys if key.split(".")[0] in _NEVER]:
            return [f"grid: {banned[0]} cannot be varied"]
        try:
            at(spec, keys)
        except KeyError as error:
            return [f"grid: {told}: unknown key {error.args[0]!r}"]
        except TypeError:
            return [f"grid: {told}: {', '.join(keys)} is no key of this setting"]
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return [f"grid: {told}: {where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"]
    return []
