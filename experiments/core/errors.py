"""The errors a user can cause or mend: what happened, where, what to do, and the exit code."""

from __future__ import annotations


class FedlabError(Exception):
    """One fault told in three short parts; the command line prints them and leaves with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        super().__init__("; ".join(part for part in (what, where, todo) if part))
        self.what, self.where, self.todo = what, where, todo


class SpecError(FedlabError):
    """The request itself is wrong (unknown key, bad value, unknown client id). `faults` lists all of them."""

    exit_code = 2

    def __init__(self, what: str, where: str = "", todo: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(what, where, todo)
        self.faults = faults


class MissingError(FedlabError):
    """The machine lacks something: a data file, a device, disk space, an optional package."""

    exit_code = 4


class NumericalError(FedlabError):
    """Training left the finite numbers."""


class BusyError(FedlabError):
    """Another process is at work here now."""

    exit_code = 5


class ToleranceError(FedlabError):
    """`report --check` found numbers outside tolerance."""

    exit_code = 3
