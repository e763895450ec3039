"""The way from a command line to an exit code. Loads nothing by itself, so that a Ctrl-C has its line from the start.

0 done; 1 some cells failed; 2 usage or spec error; 3 outside tolerance; 4 data, device or disk space missing;
5 another process is computing some cells; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

from fedlab_cli import interrupt

if TYPE_CHECKING:
    from experiments.core.errors import FedlabError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        return _command(arguments)
    except (KeyboardInterrupt, interrupt.Stopped):
        return _interrupted()


def _command(arguments: list[str] | None) -> int:
    from experiments.core.errors import FedlabError
    from fedlab_cli.app import build

    try:
        build()(args=arguments, prog_name="fedlab")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as fault:
        interrupt.check()  # what broke, broke under a Ctrl-C
        return _failed(fault if isinstance(fault, FedlabError) else _told(fault))
    return 0


def _interrupted() -> int:
    from fedlab_cli import console

    console.note("; ".join(["interrupted", *console.screen.after_interrupt]))
    return INTERRUPTED


def _failed(fault: FedlabError) -> int:
    from fedlab_cli import console

    console.failure(fault)
    if console.screen.verbose:
        console.trace(sys.exception() or fault)
    return fault.exit_code


def _told(fault: Exception) -> FedlabError:
    """What is no error of ours, as one: no memory, a file that the system does not let us use, or the unexpected."""
    from experiments.core.errors import FedlabError, MissingError
    from experiments.core.memory import is_out_of_memory, out_of_memory

    if is_out_of_memory(fault):
        return out_of_memory(fault, _place(fault))
    if isinstance(fault, OSError):
        where = str(fault.filename) if fault.filename is not None else _place(fault)
        return MissingError(fault.strerror or str(fault), where, "give another path, or correct this one")
    what = f"unexpected {type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"
    return FedlabError(what, _place(fault), "repeat with -v to see the traceback")


def _place(fault: BaseException) -> str:
    """Module and line of the innermost frame."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"


def run() -> None:
    """The console script."""
    interrupt.listen()
    try:
        import warnings

        # PyTorch's own forward-mode derivatives still use what it deprecates; a user can do nothing about it.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
        code = main()
    except KeyboardInterrupt:  # pressed again
        code = INTERRUPTED
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a thread may still be computing; all that is stored is whole
    sys.exit(code)
