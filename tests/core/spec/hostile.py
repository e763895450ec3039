"""Spec files that nobody meant: real settings with a part broken, and texts of known words in random places.

Everything follows from a number, so a case that fails can be made again: `text(2, 17)` is case 17 of run 2.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from experiments.core.paper import papers
from experiments.paths import configs_dir

VALUES = (
    "", "~", "null", "true", "no", "0", "-1", "1", "2", "7", "010", "0o17", "0x1F", "1_000", "1e-3", "-0.0", ".5",
    "1e308", "-1e308", "1e400", "5e-324", ".nan", ".inf", "-.inf", "9" * 18, "9" * 19, "-" + "9" * 25, "9" * 400,
    "1" * 5000, "0x" + "f" * 5000, "9223372036854775807", "9223372036854775808", "2020-01-01",
    "2020-01-01 10:00:00", "12:30:45", "[]", "{}", "[1]", "[[1]]", "[~]", "[a, a]", "{a: 1}", "{kind: }",
    "{kind: [1]}", "{kind: {a: 1}}", "{kind: 3}", "{kind: custom}", "{kind: mlp, hidden: [999999999999]}",
    "{kind: csv, path: ''}", "{? [1] : 2}", "{1: 2, null: 3, true: 4}", "{: 1}", "{'': 1}", "{a.b: 1}",
    "{<<: {a: 1}}", "''", "' '", "'a b=c'", "'$x'", "'\\N'", '"\\0"', '"\\ud800"', '"\\x1b[31m"', '"\\u202e"',
    "x" * 3000, "../../etc", "/dev/zero", ".", "..", "!!python/object/apply:os.getcwd []", "!!set {a, b}",
    "!!binary aGVsbG8=", "!!int x", "!!float 1", "!!str 1", "!!timestamp 2020-01-01", "!x 1", "! 1", "&a [*a]",
    "&a {b: *a}", "*nowhere", "&b {lr: 1}", "[" * 300 + "]" * 300, "{a: " * 300 + "1" + "}" * 300,
    "|\n  lines\n  of text", "'é 日本 \U0001f600'", "@a", "`a`", "%a", "a: b: c", "[1, 2", "{a: 1", "'open", "- 1",
    "? a", "[1, 2, 3, 4, 5, 6, 7, 8, 9]", "small", "paper",
)  # fmt: skip
"""YAML texts, in place of a value."""

NUMBERS = ("-1", "0", "1", "2", "3", "10", "1000", "0.5", "1e-3", "1.5", "9223372036854775807", "1e308", "5e-324")
CHARACTERS = "\t\n\r\0\x01\x07\x0b\x1b\x7f\x85\xa0\ufeff\u2028\ufffe\U000e0041:#-?[]{},&*!|>'\"%@`~<=\\ 0"
ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252")
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MARK = "placeholder{}placeholder"


def text(run: int, case: int) -> bytes:
    """The bytes of one spec file."""
    draw = random.Random(f"{run}.{case}")
    make = draw.choice((_of_a_setting, _of_a_setting, _of_a_setting, _of_characters, _of_words))
    written = make(draw)
    encoding = draw.choice(ENCODINGS) if draw.random() < 0.03 else "utf-8"
    return written.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def folder_of(run: int, case: int) -> str:
    """The folder, so the paper, that the file lies in."""
    return random.Random(f"folder {run}.{case}").choice(sorted(papers()))


@functools.cache
def _settings() -> list[Path]:
    return sorted(configs_dir().glob("*/*.yaml"))


@functools.cache
def _trees() -> list[str]:
    """The settings' files as JSON, `extends` made absolute."""
    found = []
    for path in _settings():
        tree = yaml.safe_load(path.read_text())
        if isinstance(tree.get("extends"), str):
            tree["extends"] = str((path.parent / tree["extends"]).resolve())
        found.append(json.dumps(tree))
    return found


def _of_a_setting(draw: random.Random) -> str:
    """A real setting whose values, keys or blocks are changed in one to three places."""
    tree = json.loads(draw.choice(_trees()))
    raw: dict[str, str] = {}
    for _ in range(draw.randint(1, 3)):
        _changed(draw, tree, raw)
    written = yaml.dump(tree, Dumper=_DUMPER, sort_keys=False, default_flow_style=draw.random() < 0.3, width=10**6)
    for mark, value in raw.items():
        written = written.replace(mark, value)
    return written


def _changed(draw: random.Random, tree: dict[str, Any], raw: dict[str, str]) -> None:
    mark = _MARK.format(len(raw))
    block, key = draw.choice(list(_places(tree)))
    gently = isinstance(block[key], (int, float)) and draw.random() < 0.7
    raw[mark] = draw.choice(NUMBERS if gently else VALUES)
    what = draw.random()
    if what < 0.6 or isinstance(block, list):
        block[key] = mark
    elif what < 0.7:
        block[mark] = block.pop(key)
    elif what < 0.8:
        del block[key]
    elif what < 0.9:
        block[draw.choice(_words())] = mark
    else:
        tree["grid"] = dict(_axis(draw, tree, mark) for _ in range(draw.randint(1, 3)))


def _axis(draw: random.Random, tree: dict[str, Any], mark: str) -> tuple[str, Any]:
    key = _dotted(draw, tree)
    return draw.choice(((key, [mark, 1]), (key, [mark]), (key, mark), ("word", {"a": {key: mark}, "b": {}})))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(block, key) of every value, leaves and blocks."""
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from _places(part)


def _dotted(draw: random.Random, tree: dict[str, Any]) -> str:
    path: list[str] = []
    block: Any = tree
    while isinstance(block, dict) and block and (not path or draw.random() < 0.7):
        path.append(draw.choice([str(key) for key in block]))
        block = block.get(path[-1])
    return ".".join(path)


@functools.cache
def _words() -> list[str]:
    found = {"extends", "scales", "experiment", "grid", "kind", "name", "paper", "scale", "seeds"}
    for owner in papers().values():
        named = owner.resolve("spec")
        for cls in named.values() if isinstance(named, dict) else [named]:
            found |= set(cls.model_fields)
    return sorted(found)


def _of_characters(draw: random.Random) -> str:
    """The text of a real setting with characters put in, lines doubled, moved or cut off."""
    written = draw.choice(_settings()).read_text()
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(written) + 1)
        what = draw.randrange(5)
        if what == 0:
            written = written[:at] + draw.choice(CHARACTERS) + written[at:]
        elif what == 1:
            written = written[:at]
        elif what == 2:
            written = written[:at] + written[at + draw.randint(1, 9) :]
        else:
            lines = written.split("\n")
            row = draw.randrange(len(lines))
            lines[row:row] = [lines[row]] if what == 3 else ["  " * draw.randint(0, 4) + draw.choice(VALUES)]
            written = "\n".join(lines)
        written = written or "a"
    return written


def _of_words(draw: random.Random, depth: int = 0) -> str:
    """Known words with random values, nested at random, in flow style."""
    parts = [f"{draw.choice(_words())}: {_random_value(draw, depth)}" for _ in range(draw.randint(0, 8))]
    if depth:
        return "{" + ", ".join(parts) + "}"
    return f"paper: {draw.choice(sorted(papers()))}\n" + "\n".join(parts)


def _random_value(draw: random.Random, depth: int) -> str:
    if depth < 3 and draw.random() < 0.3:
        return _of_words(draw, depth + 1)
    if depth < 3 and draw.random() < 0.2:
        return "[" + ", ".join(_random_value(draw, depth + 1) for _ in range(draw.randint(0, 4))) + "]"
    return draw.choice(VALUES)
