"""The errors a user can cause or correct: what happened, where, what to do, and the exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class FedlabError(Exception):
    """One fault in three short parts of one line each; the command line prints them and exits with `exit_code`.

    Line ends, as in messages of other programs, become spaces.
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = (re.sub(r"\s*[\r\n]\s*", " ", part.strip()) for part in (what, where, todo))
        super().__init__("; ".join(part for part in (self.what, self.where, self.todo) if part))


class SpecError(FedlabError):
    """The request itself is wrong (unknown key, bad value, unknown client id). `faults` lists all of them."""

    exit_code = 2

    def __init__(self, what: str, where: str = "", todo: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(what, where, todo)
        self.faults = faults


def suggestion(word: str, known: Iterable[str]) -> str:
    """The hint "did you mean 'x'?" if a known word is similar, else the list of known words."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def unknown(what: str, word: str, known: Iterable[str], where: str) -> SpecError:
    """The error for a word that is not among the known ones: `what` is its category, as in "unknown scale 'x'"."""
    shown = word if len(word) <= 60 else f"{word[:40]}...{word[-15:]}"
    return SpecError(f"unknown {what} {shown!r}", where, suggestion(word, known))


class MissingError(FedlabError):
    """The machine lacks something: a data file, a device, disk space, an optional package."""

    exit_code = 4


class MissingDataError(MissingError):
    """Files of a data set, or of a trained model, are missing.

    Attributes:
        downloads: the known data sets that hold them, for `fedlab data --download`; empty where no download is known.
    """

    def __init__(self, what: str, where: str, todo: str, downloads: tuple[str, ...] = ()) -> None:
        super().__init__(what, where, todo)
        self.downloads = downloads


class NumericalError(FedlabError):
    """Training produced NaN or infinity."""


class BusyError(FedlabError):
    """Another process is working in the same place."""

    exit_code = 5


class ToleranceError(FedlabError):
    """`report --check` found numbers outside tolerance."""

    exit_code = 3
