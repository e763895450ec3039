"""The cell: the smallest stored unit of work, a pure function of its parameters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from experiments.core.block import Block
from experiments.core.errors import SpecError
from experiments.core.spec.role import NO_NUMBER, keys

COLUMNS = (
    "paper", "setting", "scale", "seed", "dataset", "partition", "model", "method", "metric", "subject", "round",
    "value", "n", "unit",
)  # fmt: skip
"""Columns of every metrics.csv: one number a row."""

Row = dict[str, Any]
"""Some of COLUMNS; `paper`, `setting`, `scale`, `seed` and (where left out) `method` come from the cell."""

_LONGEST = 120  # characters of a setting or method in the name of a folder
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


class Parameters(TypedDict):
    """What a spec gives a cell: `params`, and `given`, the part of them that is not at its default."""

    params: dict[str, Any]
    given: dict[str, Any]


def parameters(spec: Block, **more: Any) -> Parameters:
    """The parameters of a cell: a spec's values but for those that change no number, and `more` that no spec holds."""
    left_out = set(keys(type(spec), *NO_NUMBER))
    params, given = (
        {**spec.model_dump(mode="json", exclude=left_out, exclude_defaults=short), **more} for short in (False, True)
    )
    return {"params": params, "given": given}


ABSENT = "(absent)"


def differences(stored: Any, wanted: Any, given: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which stored and wanted plain JSON differ: (dotted key, stored, wanted), ABSENT where one has none.

    A key that is wanted at its default (`given` lacks it) and was not stored is no difference: it came into the code
    later, and what is stored was computed as its default says.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        known = given if isinstance(given, dict) else {}
        for name in sorted(key for key in stored.keys() | wanted.keys() if key in stored or key in known):
            old, new = stored.get(name, ABSENT), wanted.get(name, ABSENT)
            yield from differences(old, new, known.get(name, ABSENT), f"{key}.{name}".lstrip("."))
    elif isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        each = given if isinstance(given, list) else [ABSENT] * len(wanted)
        if any(any(differences(*parts)) for parts in zip(stored, wanted, each, strict=True)):
            yield key, stored, wanted
    elif canonical(stored) != canonical(wanted):
        yield key, stored, wanted


@dataclass
class Context:
    """What a cell is given while it computes. None of it may change the numbers beyond rounding.

    Attributes:
        folder: the cell's work folder. It survives a kill: put checkpoints here as `*.ckpt` (removed when the cell is
            done). Every other file is kept as an artefact of the cell.
        device: "cpu", "cuda", "cuda:1", "mps". threads: CPU threads the cell may use.
        data_dir: where data sets lie, or None.
        partial: called with the rows so far now and then, so that an unfinished cell can be reported as such.
        status: what the progress line says beside the count, until it is called again (base loss and accuracy).
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
    status: Callable[[str], None] = lambda words: None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One unit of work of a setting.

    Attributes:
        paper, setting, scale, seed, method: where its rows belong.
        params: all that can change the numbers, as plain JSON; nothing of device, threads, jobs or folders.
        given: the part of `params` that is not at its default; None for all of it.
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
    given: dict[str, Any] | None = field(default=None, compare=False, kw_only=True)
    work: float = field(default=0.0, compare=False)
    worlds: int = field(default=1, compare=False)
    memory: int = field(default=0, compare=False)
    compute: Callable[[Context], list[Row]] = field(compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in (self.paper, self.setting, self.scale):
            if not _NAME.fullmatch(name):
                raise SpecError(f"{name!r} cannot name a folder", todo="use letters, digits, '.', '_', '-' and '+'")
            if len(name) > _LONGEST:
                raise SpecError(f"{name[:40]}... is too long to name a folder", todo=f"use {_LONGEST} letters at most")
        canonical(self.params)

    def __hash__(self) -> int:
        return hash((self.paper, self.setting, self.scale, self.id))

    @property
    def id(self) -> str:
        """Folder name: seed, method and a hash of parameters and version."""
        digest = hashlib.sha256(canonical([self.params, self.version]).encode()).hexdigest()
        return f"{self.prefix}{digest[:10]}"

    @property
    def prefix(self) -> str:
        """How the folder names of all cells of this seed and method begin."""
        word = re.sub(r"[^A-Za-z0-9._+-]", "_", self.method)
        if len(word) > _LONGEST:  # file systems take 255 bytes, endings included
            word = f"{word[:_LONGEST]}-{hashlib.sha256(self.method.encode()).hexdigest()[:10]}"
        return f"seed{self.seed}-{word}-"

    def is_described_by(self, stored: Any) -> bool:
        """Whether a cell.json, perhaps of code that knew fewer parameters, describes this cell."""
        described = self.describe()
        if not isinstance(stored, dict) or {**stored, "params": None} != {**described, "params": None}:
            return False
        given = described["params"] if self.given is None else json.loads(canonical(self.given))
        return not any(differences(stored.get("params"), described["params"], given))

    def describe(self) -> dict[str, Any]:
        """The content of cell.json."""
        named = {key: getattr(self, key) for key in ("paper", "setting", "scale", "seed", "method", "version")}
        return {**named, "params": json.loads(canonical(self.params))}
