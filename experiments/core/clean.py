"""Text that others wrote (names in data and files, messages of errors), made harmless for each form of output.

Nothing is dropped: what could steer a terminal, a browser or a spreadsheet is shown as the characters it consists of.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@]")
_MARKDOWN = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "`": "\\`", "[": "\\[", "]": "\\]", "<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def line(text: str) -> str:
    r"""`text` on one line, each character that is not seen written as its code: `\x1b`, `\u202e`, `\n`.

    That is control characters (so escape sequences), marks of direction or of no width, line ends, half characters.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    seen = character.isprintable() or unicodedata.category(character) == "Zs"
    return character if seen else character.encode("unicode_escape").decode()


def json_text(text: str) -> str:
    """JSON whose strings hold no character that is not seen; readers get the same values."""
    return "".join(c if c == "\n" or _visible(c) == c else _utf16(c) for c in text)


def _utf16(character: str) -> str:
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[i : i + 2].hex()}" for i in range(0, len(raw), 2))


def markdown(text: str) -> str:
    """`text` as part of a line of Markdown: no table, link, code or HTML comes of it. Line ends become spaces."""
    return line(" ".join(text.splitlines())).translate(_MARKDOWN)


def cell(text: str) -> str:
    """`text` as a cell of a CSV file that a spreadsheet may open.

    One that is no number and begins like a formula (= + - @) gets an apostrophe in front, which `meant` takes away
    again. For the rest see `line`.
    """
    shown = line(text)
    return f"'{shown}" if _FORMULA.match(shown) and not _is_number(shown) else shown


def meant(text: str) -> str:
    """The text that `cell` was given, as `line` writes it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with every text, names of columns too, as `cell` writes it."""
    return _each(frame, cell)


def meant_by(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as read from a CSV file, with every text as it was `meant`."""
    return _each(frame, meant)


def _each(frame: pd.DataFrame, change: Any) -> pd.DataFrame:
    changed = frame.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
    for column_number in range(frame.shape[1]):
        column = frame.iloc[:, column_number]
        if any(isinstance(value, str) and change(value) != value for value in column):
            changed.isetitem(column_number, [change(v) if isinstance(v, str) else v for v in column])
    return changed
