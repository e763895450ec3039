"""The spec stored with a setting's results: results of two specs never share a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import yaml

from experiments.core.errors import SpecError
from experiments.core.sweep import cell, files
from experiments.core.sweep.cell import Cell, canonical
from experiments.core.sweep.store import Store

NONE: frozenset[str] = frozenset()


def flatten(spec: Any, prefix: str = "") -> dict[str, str]:
    """Dotted key -> canonical JSON of every leaf; a list is one leaf."""
    if isinstance(spec, dict) and (spec or not prefix):
        leaves: dict[str, str] = {}
        for key, value in spec.items():
            leaves.update(flatten(value, f"{prefix}{key}."))
        return leaves
    return {prefix.removesuffix("."): canonical(spec)}


def differences(
    stored: dict[str, Any],
    wanted: dict[str, Any],
    given: dict[str, Any] | None = None,
    shared: Collection[str] = NONE,
) -> tuple[str, ...]:
    """`key: stored X, now Y` for every leaf that differs and counts; `given` and `shared` as in `run_cells`."""
    leaves = cell.differences(stored, wanted, wanted if given is None else given)
    return tuple(
        f"{key}: stored {_shown(old)}, now {_shown(new)}" for key, old, new in leaves if key.split(".")[0] not in shared
    )


def _shown(value: Any) -> str:
    return cell.ABSENT if value == cell.ABSENT else canonical(value)


def read(store: Store) -> dict[str, Any] | None:
    """The stored spec, or None when there is none.

    Raises:
        SpecError: when the file is there but is no mapping.
    """
    path = store.root / "spec.yaml"
    if not path.is_file():
        return None
    try:
        stored = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        stored = None
    if not isinstance(stored, dict):
        raise SpecError("the stored spec cannot be read", f"{store.root.name}/spec.yaml", "repeat with --overwrite")
    return stored


@contextlib.contextmanager
def claimed(
    store: Store,
    spec: dict[str, Any],
    cells: list[Cell],
    overwrite: bool,
    given: dict[str, Any] | None = None,
    shared: Collection[str] = NONE,
) -> Iterator[None]:
    """Store `spec` as the one whose results lie here, and hold it so over the block. A folder without cells is free.

    Raises:
        SpecError: when results of another spec lie here and `overwrite` is false; `faults` lists stored and new values.
        BusyError: when another process is running another spec here.
    """
    wanted = json.loads(canonical(spec))
    with contextlib.ExitStack() as held:
        with store.lock_folder():
            _settle(store, wanted, cells, overwrite, given, shared)
            held.enter_context(store.in_use())
        try:
            yield
        finally:
            if not any(store.folders()):  # nothing was computed (no data, say): leave nothing that looks like a result
                (store.root / "spec.yaml").unlink(missing_ok=True)


def _settle(
    store: Store,
    wanted: dict[str, Any],
    cells: list[Cell],
    overwrite: bool,
    given: dict[str, Any] | None,
    shared: Collection[str],
) -> None:
    occupied = any(store.folders())
    try:
        stored = read(store)
    except SpecError:
        if occupied and not overwrite:
            raise
        stored = {}
    conflicts = differences(stored, wanted, given, shared) if stored is not None else ()
    if conflicts and occupied and not overwrite:
        where = f"{store.root.parent.name}/{store.root.name}: " + "; ".join(conflicts)
        todo = "--overwrite replaces them, another --out keeps both"
        raise SpecError("results of another spec are stored here", where, todo, conflicts)
    if conflicts:
        with store.in_use(shared=False):
            store.remove_others(cells)
    files.atomic_write(store.root / "spec.yaml", yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
