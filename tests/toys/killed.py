"""A real cell that is killed as soon as it has stored rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.core.paper import printed
from experiments.core.sweep.run import Options, run_cells
from experiments.core.sweep.store import PARTIAL


class Killed(BaseException):
    """Ends a run as Ctrl-C or a kill does: no `except Exception` stops it."""


def kill_with_rows(paper: str, spec: Any, out: Path) -> None:
    """Run the first cell of `spec` into `out` until its first sign of progress after it has stored rows."""

    def listen(*_: object) -> None:
        if list(out.rglob(PARTIAL)):
            raise Killed

    cells = printed()[paper].resolve("cells")(spec)[:1]
    with pytest.raises(Killed):
        run_cells(cells, spec.model_dump(mode="json"), out, Options(progress=listen))
