"""Clients named in the data themselves: users, a column of a table, an array stored with images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.core.errors import SpecError
from experiments.core.names import natural, shortened

if TYPE_CHECKING:
    import numpy as np


def by_name(clients: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Clients in the natural order of their names, so that site 2 comes before site 10.

    Args:
        clients: the client of each sample, N values of any type.

    Returns:
        The names, and [N] the position of each sample's client among them.
    """
    import numpy as np

    names, owner = np.unique(np.asarray(clients).reshape(-1).astype(str), return_inverse=True)
    order = np.array(sorted(range(len(names)), key=lambda k: natural(str(names[k]))), dtype=np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return tuple(names[order].tolist()), rank[owner]


def checked_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The names stripped of surrounding whitespace; options and fields refer to clients by these.

    Raises:
        SpecError: an empty name, or two names that differ in whitespace only.
    """
    seen: dict[str, str] = {}
    for written in names:
        name = written.strip()
        if not name:
            raise SpecError(f"a client's name is empty ({written!r})", where, "name every sample's client")
        if name in seen:
            twice = f"{shortened(seen[name])!r} and {shortened(written)!r}"
            raise SpecError(f"clients {twice} have one name", where, "write a client's name the same way everywhere")
        seen[name] = written
    return tuple(seen)
