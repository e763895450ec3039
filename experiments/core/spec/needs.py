"""What a spec needs and this machine lacks, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.core.block import Block
from experiments.core.data._files import how_to_get
from experiments.core.errors import MissingDataError, MissingError
from experiments.core.spec.grid import at, points


def missing(spec: Any, data_dir: Path | None) -> MissingError | None:
    """The files and packages that the blocks of a spec need and this machine lacks, over its grid; None if nothing.

    Reads no data and loads no torch.
    """
    lacks: dict[str, MissingError] = {}
    for block in _blocks(spec):
        try:
            block.require(data_dir)
        except MissingError as fault:
            lacks.setdefault(fault.what, fault)
    return None if not lacks else _joined(list(lacks.values()), data_dir)


def _joined(faults: list[MissingError], data_dir: Path | None) -> MissingError:
    """One error for all: what is missing, one command for what can be downloaded, and the other remedies."""
    if len(faults) == 1:
        return faults[0]
    fetched = [fault for fault in faults if isinstance(fault, MissingDataError) and fault.downloads]
    names = tuple(dict.fromkeys(name for fault in fetched for name in fault.downloads))
    others = [f"{fault.what}: {fault.todo}" for fault in faults if fault not in fetched]
    where = f"data folder {data_dir}" if data_dir else "no data folder is given (--data-dir or FEDLAB_DATA_DIR)"
    todo = "; ".join([*others, *([how_to_get(names, data_dir)] if names else [])])
    return MissingDataError("; ".join(fault.what for fault in faults), where, todo, names)


def _blocks(spec: Any) -> Iterator[Block]:
    """Every block of the spec and of the points of its grid, each once."""
    axes = getattr(spec, "grid", {})
    seen: list[Block] = []
    for _, keys in points(axes):
        point_spec = at(spec, keys) if keys else spec
        for block in (getattr(point_spec, name) for name in type(point_spec).model_fields):
            if isinstance(block, Block) and block not in seen:
                seen.append(block)
                yield block
