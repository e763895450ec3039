"""`--data KIND`: the same setting on other data, named so that nobody takes it for the setting itself."""

from __future__ import annotations

from typing import Any

from experiments.core.errors import SpecError
from experiments.core.spec.faults import suggestion
from experiments.core.spec.tree import put
from experiments.core.spec.values import Tree

SUFFIX = "-standin"
WORDS = {"digits": "sklearn_digits"}
"""Short words of --data besides the kinds themselves."""

_MOST = 200  # clients that scikit-learn's digits can be dealt to


def stood_in(tree: Tree, kind: str) -> Tree:
    """`tree` with the data block {kind: kind}; the setting's own kind is left as it is.

    Everything else stays, but the number of natural clients is taken over and a limit on test samples dropped. The
    setting's name gets the suffix "-standin", its title the words "(stand-in: ...)".

    Raises:
        SpecError: on an unknown kind.
    """
    from experiments.core.data import kinds

    known = kinds()
    chosen = WORDS.get(kind, kind)
    if chosen not in known:
        raise SpecError(f"unknown data {kind!r}", "--data", suggestion(kind, [*WORDS, *known]))
    data, origin = tree.value.get("data"), f"--data {kind}"
    if data is None:
        raise SpecError("this setting uses no data set", "--data", "leave --data out")
    if isinstance(data, dict) and data.get("kind") == chosen:
        return tree
    changes: dict[str, Any] = {
        "data": {"kind": chosen, **_clients(data, chosen)},
        "name": f"{tree.value['name']}{SUFFIX}",
        "title": f"{tree.value.get('title', '')} (stand-in: {chosen})".strip(),
    }
    partition = tree.value.get("partition")
    if isinstance(partition, dict) and "test_samples" in partition:
        changes["partition"] = {"test_samples": None}
    for key, value in changes.items():
        tree = put(tree, (key,), value, origin)
    return tree


def _clients(data: Any, chosen: str) -> dict[str, int]:
    """As many natural clients as the setting's own data have, where the spec tells and the stand-in can choose."""
    count = data.get("writers", data.get("clients")) if isinstance(data, dict) else None
    return {"clients": min(count, _MOST)} if chosen == "sklearn_digits" and isinstance(count, int) else {}
