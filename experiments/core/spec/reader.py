"""YAML text -> plain values, with the file:line of every key. YAML 1.2 scalars, no duplicate keys, no object tags.

PyYAML alone reads `1e-3` as a string, `no` as False and `010` as 8, and keeps the last of two equal keys silently.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from experiments.core.errors import SpecError

Key = tuple[str, ...]

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the core schema of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), None)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a spec: where (file:line or option), which key, what, and a hint."""

    where: str
    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.what) if part) + (
            f"; {self.hint}" if self.hint else ""
        )


@dataclass
class Tree:
    """Nested plain values, and where each key path was written."""

    value: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def origin(self, path: Key) -> str:
        """Where `path`, or the nearest part above it, was written."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "")


def shown(path: Path) -> str:
    """`path` as messages print it: relative to the working directory where it lies inside."""
    real = Path(os.path.realpath(path))  # resolve() raises on links in a circle
    try:
        return str(real.relative_to(Path.cwd()))
    except ValueError:
        from experiments.paths import configs_dir

        root = configs_dir().resolve()
        return str(Path("configs") / real.relative_to(root)) if root in real.parents else str(path)


def read_file(path: Path) -> Tree:
    """Read one YAML file; duplicate keys and foreign tags are collected as faults.

    Raises:
        SpecError: when the file cannot be read, is no YAML, or is not a mapping.
    """
    name = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else "not UTF-8 text"
        raise SpecError(f"cannot read the spec: {reason}", name, "give a YAML file") from fault
    return _parse(text, name)


def read_value(text: str) -> Any:
    """One YAML value, as given to --set.

    Raises:
        SpecError: when it is no YAML.
    """
    tree = _parse(f"value: {text}", "--set")
    if tree.faults or set(tree.value) != {"value"}:
        raise SpecError(f"cannot read the value {text!r}", "--set", "quote it as YAML")
    return tree.value["value"]


def _parse(text: str, name: str) -> Tree:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise SpecError(f"bad YAML: {getattr(fault, 'problem', fault)}", f"{name}{line}", "mend this line") from fault
    if not isinstance(node, yaml.MappingNode):
        raise SpecError("a spec is a mapping of keys to values", name, "write lines of the form `key: value`")
    tree = Tree(origins={(): f"{name}:1"})
    tree.value = _plain(node, (), name, tree, ())
    return tree


def _plain(node: yaml.Node, path: Key, name: str, tree: Tree, above: tuple[yaml.Node, ...]) -> Any:
    """The value of `node`; notes the line of every key and the faults in `tree`."""
    if any(node is parent for parent in above):
        raise SpecError("an anchor contains itself", f"{name}:{node.start_mark.line + 1}", "write the block out")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, name, tree, (*above, node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part, (*path, str(i)), name, tree, (*above, node)) for i, part in enumerate(node.value)]
    return _scalar(node, path, name, tree)


def _mapping(node: yaml.MappingNode, path: Key, name: str, tree: Tree, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in node.value:
        where, word = f"{name}:{key.start_mark.line + 1}", str(key.value)
        if word in found:
            first = tree.origins[(*path, word)].rpartition(":")[2]
            tree.faults.append(Fault(where, ".".join((*path, word)), f"duplicate key, first given in line {first}"))
            continue
        tree.origins[(*path, word)] = where
        found[word] = _plain(part, (*path, word), name, tree, above)
    return found


def _scalar(node: yaml.Node, path: Key, name: str, tree: Tree) -> Any:
    text, tag = str(node.value), node.tag.removeprefix(_TAG)
    if tag == "str":
        return text
    if tag not in _SCALARS or not re.fullmatch(_SCALARS[tag], text):
        where = f"{name}:{node.start_mark.line + 1}"
        tree.faults.append(Fault(where, ".".join(path), f"tag {node.tag!r} is not allowed"))
        return None
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        based = text[:2] in ("0o", "0x")
        return int(text, 0) if based else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
