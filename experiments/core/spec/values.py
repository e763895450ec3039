"""The values of a spec file, each with its location: no duplicate keys, no object tags, no alias bombs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from experiments.core.errors import SpecError

Key = tuple[str, ...]

MOST_VALUES = 100_000
"""Limit on the values and list entries of a file, after expanding aliases."""

MOST_DEPTH = 32
"""Limit on nested blocks and lists, and on the parts of a dotted key."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_INT64 = range(-(2**63), 2**63)
_DIGITS = 70  # more than a 64-bit number has in any notation; very long numbers are slow to parse


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


def brief(value: Any, most: int = 60) -> str:
    """`value` as messages quote it: on one line, with the middle of a long one left out."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"


def built(events: list[Any], name: str) -> Tree:
    """The values that `events`, the starts, ends, scalars and aliases of one document in the file `name`, stand for.

    Raises:
        SpecError: not a mapping, an anchor that is undefined or contains itself, or a limit of a spec is exceeded.
    """
    if not events or not isinstance(events[0], yaml.MappingStartEvent):
        raise SpecError("a spec is a mapping of keys to values", name, "write lines of the form `key: value`")
    builder = _Builder(events, name)
    builder.tree.value = builder.value(())
    return builder.tree


def line_of(name: str, event: Any) -> str:
    """`file:line` of an event."""
    return f"{name}:{event.start_mark.line + 1}"


class _Builder:
    """Events -> values. An alias is expanded where it is used, so that its keys have origins there as well."""

    def __init__(self, events: list[Any], name: str) -> None:
        self.tree = Tree(origins={(): f"{name}:1"})
        self._events, self._name, self._at = events, name, 0
        self._made, self._open = 0, set[int]()
        anchors: dict[str, int] = {}
        self._meant: dict[int, int | None] = {}
        for index, event in enumerate(events):
            if isinstance(event, yaml.AliasEvent):
                self._meant[index] = anchors.get(str(event.anchor))
            elif anchor := getattr(event, "anchor", None):
                anchors[anchor] = index

    def value(self, path: Key) -> Any:
        """The value that begins at the current event; records the line of every key, and the faults."""
        index, event = self._at, self._events[self._at]
        self._at, self._made = index + 1, self._made + 1
        if self._made > MOST_VALUES or len(self._open) > MOST_DEPTH:
            raise SpecError("aliases unfold to more than a spec can hold", self._line(event), "write the values out")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(index, event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        block = isinstance(event, yaml.MappingStartEvent)
        self._tag_known(event, path, "map" if block else "seq")
        self._open.add(index)
        value = self._mapping(path) if block else self._list(path)
        self._open.discard(index)
        return value

    def _aliased(self, index: int, event: Any, path: Key) -> Any:
        meant, back = self._meant[index], self._at
        if meant is None:
            raise SpecError(f"no anchor &{event.anchor} stands above", self._line(event), "write the value out")
        if meant in self._open:
            raise SpecError("an anchor contains itself", self._line(event), "write the block out")
        self._at = meant
        value = self.value(path)
        self._at = back
        return value

    def _list(self, path: Key) -> list[Any]:
        items: list[Any] = []
        while not isinstance(self._events[self._at], yaml.SequenceEndEvent):
            items.append(self.value((*path, str(len(items)))))
        self._at += 1
        return items

    def _mapping(self, path: Key) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._events[self._at], yaml.MappingEndEvent):
            fault = self._fault_of_key(event, path)
            self._skip()
            if fault is not None:
                self.tree.faults.append(fault)
                self._skip()
                continue
            self.tree.origins[(*path, event.value)] = self._line(event)
            mapping[event.value] = self.value((*path, event.value))
        self._at += 1
        return mapping

    def _fault_of_key(self, event: Any, path: Key) -> Fault | None:
        where, block = self._line(event), ".".join(path)
        if not isinstance(event, yaml.ScalarEvent) or event.tag not in (None, "!", f"{_TAG}str"):
            return Fault(where, block, "a key is not plain text", "write a word before the colon")
        if _NO_TEXT.search(event.value):
            return Fault(where, block, f"{brief(event.value)} is no text", "remove the NUL or half character")
        key_path = (*path, event.value)
        if event.value == "<<" and event.implicit[0]:
            return Fault(where, ".".join(key_path), "merge keys are not read", "write the block out, or use `extends`")
        if key_path in self.tree.origins:
            first = self.tree.origins[key_path].rpartition(":")[2]
            return Fault(where, ".".join(key_path), f"duplicate key, first given in line {first}")
        return None

    def _skip(self) -> None:
        """Skip the node at the current event."""
        depth = 0
        while True:
            event = self._events[self._at]
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            self._at += 1
            if depth == 0:
                return

    def _scalar(self, event: Any, path: Key) -> Any:
        text, forms = event.value, [name for name, form in _SCALARS.items() if form.fullmatch(event.value)]
        if not self._tag_known(event, path, "str", *forms):
            return None
        named = (event.tag or "!").removeprefix(_TAG)
        plain = forms[0] if forms and event.implicit[0] else "str"
        return getattr(self, f"_{plain if named == '!' else named}")(event, path, text)

    def _null(self, event: Any, path: Key, text: str) -> None:
        return None

    def _bool(self, event: Any, path: Key, text: str) -> bool:
        return text.lower() == "true"

    def _float(self, event: Any, path: Key, text: str) -> float:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def _int(self, event: Any, path: Key, text: str) -> int | None:
        number = None
        if len(text) <= _DIGITS:
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if number is None or number not in _INT64:
            self._fault(event, path, f"{brief(text)} is beyond 64 bits", "give a smaller number")
            return None
        return number

    def _str(self, event: Any, path: Key, text: str) -> str:
        if _NO_TEXT.search(text):
            self._fault(event, path, f"{brief(text)} is no text", "remove the NUL or half character")
        return text

    def _tag_known(self, event: Any, path: Key, *names: str) -> bool:
        known = event.tag in (None, "!", *(_TAG + name for name in names))
        if not known:
            self._fault(event, path, f"tag {brief(event.tag)} is not allowed", "leave the tag out")
        return known

    def _fault(self, event: Any, path: Key, what: str, hint: str) -> None:
        self.tree.faults.append(Fault(self._line(event), ".".join(path), what, hint))

    def _line(self, event: Any) -> str:
        return line_of(self._name, event)
