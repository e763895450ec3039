"""Stand-ins: other data in place of a setting's own, named so that nobody mistakes the run for the setting itself.

`--data KIND` asks for one. If a setting's own data are missing, the block `stand_in` of its file determines what
runs instead: an overlay like those of `scales`, with a data block that needs no file and any changes it requires:

    stand_in:
      data: {kind: sklearn_digits, clients: 100}

It belongs to its file and is not inherited by `extends`: a user's data have no stand-in.
"""

from __future__ import annotations

from typing import Any

from experiments.core.errors import SpecError, unknown
from experiments.core.spec.tree import STAND_IN, merge, put, subtree
from experiments.core.spec.values import Fault, Tree

SUFFIX = "-standin"
WORDS = {"digits": "sklearn_digits"}
"""Short words of --data besides the kinds themselves."""

_MOST = 200  # clients that scikit-learn's digits can be dealt to


def parted(tree: Tree) -> tuple[Tree, Tree]:
    """The tree without its `stand_in`, and that overlay (empty where there is none)."""
    overlay = tree.value.get(STAND_IN)
    faults = list(tree.faults)
    if overlay is not None and not (isinstance(overlay, dict) and isinstance(overlay.get("data"), dict)):
        faults.append(Fault(tree.origin((STAND_IN,)), STAND_IN, "should be a mapping with a data block"))
        overlay = None
    rest = Tree(
        {key: part for key, part in tree.value.items() if key != STAND_IN},
        {path: origin for path, origin in tree.origins.items() if path[:1] != (STAND_IN,)},
        faults,
    )
    return rest, Tree() if overlay is None else subtree(tree, (STAND_IN,))


def laid(tree: Tree, overlay: Tree) -> Tree:
    """`tree` with its stand-in overlay applied, and named as a stand-in."""
    return _named(merge(tree, overlay), str(overlay.value["data"].get("kind")), STAND_IN)


def stood_in(tree: Tree, kind: str, overlay: Tree) -> Tree:
    """`tree` on data of kind `kind` (--data); the setting's own kind is left as it is.

    If the setting's `overlay` has this kind, it is applied. Otherwise only the data block is replaced: the
    number of natural clients is kept and a limit on test samples is dropped. The setting's name gets the suffix
    "-standin", its title the words "(stand-in: ...)".

    Raises:
        SpecError: on an unknown kind.
    """
    from experiments.core.data import kinds

    known = kinds()
    chosen = WORDS.get(kind, kind)
    if chosen not in known:
        raise unknown("data", kind, [*WORDS, *known], "--data")
    data, origin = tree.value.get("data"), f"--data {kind}"
    if data is None:
        raise SpecError("this setting uses no data set", "--data", "leave --data out")
    if isinstance(data, dict) and data.get("kind") == chosen:
        return tree
    if overlay.value and overlay.value["data"].get("kind") == chosen:
        return laid(tree, overlay)
    tree = put(tree, ("data",), {"kind": chosen, **_clients(data, chosen)}, origin)
    partition = tree.value.get("partition")
    if isinstance(partition, dict) and "test_samples" in partition:
        tree = put(tree, ("partition",), {"test_samples": None}, origin)
    return _named(tree, chosen, origin)


def _named(tree: Tree, chosen: str, origin: str) -> Tree:
    """`tree` under the name and title of a stand-in."""
    title = f"{tree.value.get('title', '')} (stand-in: {chosen})".strip()
    tree = put(tree, ("name",), f"{tree.value['name']}{SUFFIX}", origin)
    return put(tree, ("title",), title, origin)


def _clients(data: Any, chosen: str) -> dict[str, int]:
    """The setting's number of natural clients, if the spec determines it and the stand-in can choose it."""
    count = data.get("writers", data.get("clients")) if isinstance(data, dict) else None
    return {"clients": min(count, _MOST)} if chosen == "sklearn_digits" and isinstance(count, int) else {}
