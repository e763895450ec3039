"""The names of clients: their order, how options and fields refer to them, and folder names made of them."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence

from experiments.core.errors import SpecError

_SHOWN = 40  # letters of a name in a message
_FOLDER = 80  # letters of names in a folder's name


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sorting key under which 'site 9' comes before 'site 10'; equal for equal texts only."""
    parts = re.split(r"([0-9]+)", text)
    # Compared by length, then by digits: Python does not parse integers of thousands of digits.
    numbers = [digits.lstrip("0") for digits in parts[1::2]]
    key: list[tuple[int, int, str]] = [(0, 0, part) for part in parts]
    key[1::2] = [(1, len(digits), digits) for digits in numbers]
    return key, text


def is_number(name: str) -> bool:
    """Whether a name is a whole number as Python writes it, so that a spec may give it without quotes."""
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", name) is not None


def numbered(count: int) -> tuple[str, ...]:
    """Names for `count` clients that have none: "0", "1", ..."""
    return tuple(str(k) for k in range(count))


def are_numbered(names: Sequence[str]) -> bool:
    """Whether clients are only numbered: their names are their positions."""
    return all(name == str(k) for k, name in enumerate(names))


def positions(words: Iterable[str], names: Sequence[str], where: str) -> tuple[int, ...]:
    """The positions in `names` of the clients that `words` name, in the order of `words`.

    A word is a client's name, or else `#` and its position, counted from 0.

    Args:
        words: as a user gave them. names: all clients' names, each once. where: the option or field, for messages.

    Raises:
        SpecError: an unknown client, or one named twice.
    """
    known = {name: k for k, name in enumerate(names)}
    chosen: dict[int, str] = {}
    for word in words:
        k = known.get(word, _position(word, len(names)))
        if k is None:
            raise SpecError(f"unknown client {shortened(word)!r}", where, hint(word, names))
        if k in chosen:
            raise SpecError(f"client {shortened(names[k])!r} is named twice", where, f"leave {word!r} out")
        chosen[k] = word
    return tuple(chosen)


def _position(word: str, count: int) -> int | None:
    """K of "#k", None where that is no position below `count`."""
    digits = re.fullmatch(r"#(0|[1-9][0-9]{0,17})", word)
    return int(digits[1]) if digits and int(digits[1]) < count else None


def hint(word: str, names: Sequence[str]) -> str:
    """What to write instead of an unknown name: a similar name, and the range of client names."""
    last = len(names) - 1
    if are_numbered(names):
        return f"clients are 0 to {last}"
    near = difflib.get_close_matches(word, names, 1)
    guess = f"did you mean {shortened(near[0])!r}? " if near else ""
    return f"{guess}clients are {shortened(names[0])!r} to {shortened(names[-1])!r}, or by position #0 to #{last}"


def shortened(name: str) -> str:
    """A name shortened to fit into a message or a figure."""
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1].rstrip() + "\u2026"


def folder_of(words: Iterable[str]) -> str:
    """Names as part of a folder's name, "7+9" or "s0": readable, unambiguous, safe on every file system.

    Long names, and names with unsafe characters or capitals (which some file systems do not distinguish), are cut to
    safe characters and followed by a digest of all names.
    """
    ordered = sorted(words, key=natural)
    plain = "+".join(ordered)
    if len(plain) <= _FOLDER and all(re.fullmatch(r"[a-z0-9_-]+", word) for word in ordered):
        return plain
    digest = hashlib.sha256(json.dumps(ordered).encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9+-]+', '_', plain)[: _FOLDER // 2]}.{digest}"
