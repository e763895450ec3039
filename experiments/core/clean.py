"""Untrusted text (names in data and files, error messages), made harmless for each form of output.

Nothing is dropped: what could control a terminal, a browser or a spreadsheet is shown in escaped form.
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
    r"""`text` on one line, each invisible character written as its code: `\x1b`, `\u202e`, `\n`.

    These are control characters (hence escape sequences), direction and zero-width marks, line ends, surrogates.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    seen = character.isprintable() or unicodedata.category(character) == "Zs"
    return character if seen else character.encode("unicode_escape").decode()


def json_text(text: str) -> str:
    """JSON whose strings contain no invisible characters; parsing gives the same values."""
    return "".join(c if c == "\n" or _visible(c) == c else _utf16(c) for c in text)


def _utf16(character: str) -> str:
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[i : i + 2].hex()}" for i in range(0, len(raw), 2))


def markdown(text: str) -> str:
    """`text` as part of a line of Markdown: no table, link, code or HTML results. Line ends become spaces."""
    return line(" ".join(text.splitlines())).translate(_MARKDOWN)


def cell(text: str) -> str:
    """`text` as a cell of a CSV file that a spreadsheet may open.

    Text that is not a number but begins like a formula (= + - @) gets a leading apostrophe, which `meant` removes.
    Otherwise as `line`.
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
    """`frame` with every text, including column names, as `cell` writes it."""
    return _each(frame, cell)


def meant_by(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as read from a CSV file, with every text as it was `meant`."""
    return _each(frame, meant)


def _each(frame: pd.DataFrame, change: Any) -> pd.DataFrame:
    changed = frame.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
    for column_index in range(frame.shape[1]):
        column = frame.iloc[:, column_index]
        if any(isinstance(value, str) and change(value) != value for value in column):
            changed.isetitem(column_index, [change(v) if isinstance(v, str) else v for v in column])
    return changed
