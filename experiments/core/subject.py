"""Subjects of rows, what a number is about: `key=value` words with a space between, written here and read here.

A value may hold any characters: a space in it is written `%20`, a percent sign `%25`, everything else as it is.
"""

from __future__ import annotations

from experiments.core.errors import SpecError


def subject(**words: object) -> str:
    """The subject of these words, in their order: `client=3 label=2`."""
    return " ".join(f"{key}={_written(str(value))}" for key, value in words.items())


def words(text: str) -> dict[str, str]:
    """Key -> value of a subject; nothing for "".

    Raises:
        SpecError: a word without `=`, or a key that stands twice.
    """
    pairs = [word.partition("=") for word in text.split(" ")] if text else []
    values = {key: _read(value) for key, equals, value in pairs if key and equals}
    if len(values) < len(pairs):
        raise SpecError(
            f"the subject {text!r} is not key=value words",
            "metrics.csv",
            "an earlier version wrote it: repeat the command that made these results",
        )
    return values


def _written(value: str) -> str:
    return value.replace("%", "%25").replace(" ", "%20")


def _read(value: str) -> str:
    return value.replace("%20", " ").replace("%25", "%")
