"""Command-line overrides of a spec: a key's path, its value, and the option it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.core.errors import SpecError
from experiments.core.spec.reader import read_value
from experiments.core.spec.tree import put
from experiments.core.spec.values import MOST_DEPTH, Key, Tree, brief

_LONGEST = 60  # options up to so many characters are quoted in full


@dataclass(frozen=True)
class Override:
    """`value` for the key at `path`; `origin` is how messages name it (`--set local.lr=0.1`, `--seeds 0-4`)."""

    path: Key
    value: Any
    origin: str


def option(path: str, value: Any, origin: str) -> Override:
    """The override of an option: `path` is the dotted key that it sets."""
    return Override(tuple(path.split(".")), value, quoted(origin))


def read_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """The values of `--set`, each of the form "key.subkey=value" with a value in YAML.

    Raises:
        SpecError: no `=`, an empty or too long key, or a value that is not valid YAML.
    """
    return tuple(map(_read, texts))


def _read(text: str) -> Override:
    name, equals, value = text.partition("=")
    path, origin = tuple(name.strip().split(".")), quoted(f"--set {text}")
    if not equals or not all(path):
        raise SpecError(f"cannot read {brief(text)}", origin, "write --set key.subkey=value")
    if len(path) > MOST_DEPTH:
        raise SpecError(f"a key of {len(path)} parts", origin, f"a key has at most {MOST_DEPTH} parts")
    return Override(path, read_value(value, origin), origin)


def quoted(origin: str) -> str:
    """An option as messages quote it: on one line, with the middle of a long one left out."""
    name, _, value = origin.partition(" ")
    return origin if len(value) <= _LONGEST and value.isprintable() else f"{name} {brief(value)}"


def overridden(tree: Tree, overrides: Sequence[Override]) -> Tree:
    """Apply the overrides to the tree; choices of a `kind` come first, so that they do not drop other keys."""
    for override in sorted(overrides, key=lambda o: o.path[-1] != "kind"):
        tree = put(tree, override.path, override.value, override.origin)
    return tree
