"""A spec file or a --set value -> plain values with the file:line of every key. YAML 1.2 scalars.

PyYAML alone reads `1e-3` as a string, `no` as False and `010` as 8, silently keeps the last of two equal keys, and
expands every alias. Here its parser only delivers the events of a text; `values` interprets them.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from experiments.core.errors import SpecError
from experiments.core.spec.values import MOST_DEPTH, MOST_VALUES, Tree, brief, built, line_of

MOST_BYTES = 2 * 2**20

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def shown(path: Path) -> str:
    """`path` as messages print it: relative to the working directory if it is inside."""
    real = Path(os.path.realpath(path))  # resolve() raises on links in a circle
    try:
        return str(real.relative_to(Path.cwd()))
    except ValueError:
        from experiments.paths import configs_dir

        root = configs_dir().resolve()
        return str(Path("configs") / real.relative_to(root)) if root in real.parents else str(path)


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_file(path: Path) -> Tree:
    """Read one YAML file; duplicate keys, foreign tags and numbers out of range are collected as faults.

    Raises:
        SpecError: the file cannot be read, is not valid YAML, is not a mapping, or exceeds the limits of a spec.
    """
    name = shown(path)
    try:
        return _parsed(_content(path, name).decode("utf-8-sig"), name)
    except UnicodeDecodeError as fault:
        raise SpecError("cannot read the spec: not UTF-8 text", name, "save it as UTF-8") from fault
    except OSError as fault:
        raise SpecError(f"cannot read the spec: {fault.strerror or fault}", name, "give a YAML file") from fault


def _content(path: Path, name: str) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
        raise SpecError("cannot read the spec: not a plain file", name, "give a YAML file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise SpecError(f"the file is larger than {MOST_BYTES // 2**20} MB", name, "give a YAML file of settings")
    return content


def read_value(text: str, origin: str) -> Any:
    """One YAML value from a command-line option, which messages call `origin`.

    Raises:
        SpecError: it is not valid YAML.
    """
    tree = _parsed(f"value: {text}", origin)
    if tree.faults:
        raise SpecError(tree.faults[0].what, origin, tree.faults[0].hint)
    if set(tree.value) != {"value"}:
        raise SpecError(f"cannot read the value {brief(text)}", origin, "quote it as YAML")
    return tree.value["value"]


def _parsed(text: str, name: str) -> Tree:
    strange = _NOT_YAML.search(text)
    if strange:
        where = f"{name}:{text.count(chr(10), 0, strange.start()) + 1}"
        raise SpecError(f"bad YAML: the character {strange[0]!a}", where, "remove it")
    try:
        return built(_events(text, name), name)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        what = " ".join(str(getattr(fault, "problem", None) or fault).split())
        raise SpecError(f"bad YAML: {what}", f"{name}{line}", "correct this line") from fault


def _events(text: str, name: str) -> list[Any]:
    """The starts, ends, scalars and aliases of the text's single document; stops as soon as a limit is exceeded."""
    events: list[Any] = []
    depth = documents = 0
    for event in yaml.parse(text, Loader=_PARSER):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            raise SpecError("more than one document in the file", line_of(name, event), "remove this `---`")
        if depth > MOST_DEPTH:
            raise SpecError(f"nested deeper than {MOST_DEPTH}", line_of(name, event), "flatten it")
        if len(events) > MOST_VALUES:
            raise SpecError(f"more than {MOST_VALUES} values", line_of(name, event), "shorten the lists")
        if isinstance(event, (yaml.NodeEvent, yaml.CollectionEndEvent)):
            events.append(event)
    return events
