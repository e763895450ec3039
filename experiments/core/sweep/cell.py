"""The cell: the smallest stored unit of work, a pure function of its parameters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.core.errors import SpecError

COLUMNS = (
    "paper", "setting", "scale", "seed", "dataset", "partition", "model", "method", "metric", "subject", "round",
    "value", "n", "unit",
)  # fmt: skip
"""Columns of every metrics.csv: one number a row."""

Row = dict[str, Any]
"""Some of COLUMNS; `paper`, `setting`, `scale`, `seed` and (where left out) `method` come from the cell."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def canonical(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, tuples as lists.

    Raises:
        SpecError: when `value` cannot be written as JSON (NaN and infinity included).
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"a cell's parameters must be plain JSON: {error}") from error


@dataclass
class Context:
    """What a cell is given while it computes. None of it may change the numbers beyond rounding.

    Attributes:
        folder: the cell's work folder. It survives a kill: put checkpoints here as `*.ckpt` (removed when the cell is
            done). Every other file is kept as an artefact of the cell.
        device: "cpu", "cuda", "cuda:1", "mps". threads: CPU threads the cell may use.
        data_dir: where data sets lie, or None.
        partial: called with the rows so far now and then, so that an unfinished cell can be reported as such.
        progress: called with (what, done, total). log: one line into log.txt. tell: the same, and told on the screen,
            once for all cells that say the same. warn: the same as a warning, cell by cell.
        facts: what the cell found out and wants recorded in provenance.json (formulation, hash of the data, ...).
    """

    folder: Path
    device: str = "cpu"
    threads: int = 1
    data_dir: Path | None = None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    log: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = lambda line: None
    tell: Callable[[str], None] = lambda line: None
    partial: Callable[[list[Row]], None] = lambda rows: None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One unit of work of a setting.

    Attributes:
        paper, setting, scale, seed, method: where its rows belong.
        params: all that can change the numbers, as plain JSON; nothing of device, threads, jobs or folders.
        version: the paper's version, raised when code changes what the numbers mean.
        work: estimated seconds on 2 CPU cores, 0 unknown. worlds: training runs inside. memory: bytes, 0 unknown.
        compute: Context -> rows. A module-level function (or functools.partial of one), so that it can be sent away.
    """

    paper: str
    setting: str
    scale: str
    seed: int
    method: str
    params: dict[str, Any]
    version: int
    work: float = field(default=0.0, compare=False)
    worlds: int = field(default=1, compare=False)
    memory: int = field(default=0, compare=False)
    compute: Callable[[Context], list[Row]] = field(compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in (self.paper, self.setting, self.scale):
            if not _NAME.fullmatch(name):
                raise SpecError(f"{name!r} cannot name a folder", todo="use letters, digits, '.', '_', '-' and '+'")
        canonical(self.params)

    def __hash__(self) -> int:
        return hash((self.paper, self.setting, self.scale, self.id))

    @property
    def id(self) -> str:
        """Folder name: seed, method and a hash of parameters and version."""
        digest = hashlib.sha256(canonical([self.params, self.version]).encode()).hexdigest()
        return f"seed{self.seed}-{re.sub(r'[^A-Za-z0-9._+-]', '_', self.method)}-{digest[:10]}"

    def describe(self) -> dict[str, Any]:
        """The content of cell.json."""
        named = {key: getattr(self, key) for key in ("paper", "setting", "scale", "seed", "method", "version")}
        return {**named, "params": json.loads(canonical(self.params))}
