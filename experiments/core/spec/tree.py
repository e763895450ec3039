"""Combining specs: `extends` and the overlay of a scale, recording where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.core.errors import SpecError
from experiments.core.spec.reader import is_file, read_file, shown
from experiments.core.spec.values import Fault, Key, Tree, brief

SCALES = ("smoke", "small", "paper")
STAND_IN = "stand_in"
"""The key of the overlay used if a setting's data are missing (see `standin`)."""
DEPTH = 3


def merge(base: Tree, over: Tree) -> Tree:
    """`over` merged into `base`, key by key. A block with another `kind` replaces the old one, so that no keys leak."""
    taken: set[Key] = set()
    value = _merge(base.value, over.value, (), taken)

    def of_over(path: Key) -> bool:
        return any(path[:end] in taken for end in range(1, len(path) + 1))

    origins = {path: where for path, where in base.origins.items() if not of_over(path)}
    origins |= {path: where for path, where in over.origins.items() if of_over(path)}
    return Tree(value, origins, base.faults + over.faults)


def _merge(base: dict, over: dict, path: Key, taken: set[Key]) -> dict[str, Any]:
    """The merged mapping; records in `taken` the paths whose whole value is `over`'s."""
    out = dict(base)
    for key, part in over.items():
        at, old = (*path, key), base.get(key)
        if isinstance(part, dict) and isinstance(old, dict) and part.get("kind", old.get("kind")) == old.get("kind"):
            out[key] = _merge(old, part, at, taken)
        else:
            taken.add(at)
            out[key] = part
    return out


def subtree(tree: Tree, path: Key) -> Tree:
    """The mapping at `path` as a separate tree (empty if there is none)."""
    value: Any = tree.value
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return Tree()
    return Tree(value, {k[len(path) :]: v for k, v in tree.origins.items() if k[: len(path)] == path and k != path})


def gather(path: Path, scale: str, depth: int = 0) -> Tree:
    """The spec in `path` at `scale`: what it extends (at most three deep), its body, its overlay of the scale.

    Each is merged into the one before, so that the nearer file takes precedence: a file's keys override the scale
    overlay of the file that it extends.

    Raises:
        SpecError: a file is missing or not valid YAML, or the chain is too long (or circular).
    """
    tree = read_file(path)
    parent = tree.value.pop("extends", None)
    where = tree.origins.pop(("extends",), "")
    if parent is None:
        return at_scale(tree, scale)
    if depth == DEPTH:
        raise SpecError(f"`extends` goes more than {DEPTH} files deep, or in a circle", where, "flatten the chain")
    base = gather(_parent(path, parent, where), scale, depth + 1)
    base.value.pop(STAND_IN, None)  # the extending file may have other data
    return at_scale(tree, scale, base)


def _parent(path: Path, named: Any, where: str) -> Path:
    """The file that `extends: named` means: beside the extending file, else among the built-in specs."""
    from experiments.paths import configs_dir

    if isinstance(named, str):
        for folder in (path.parent, configs_dir()):
            for name in (named, f"{named}.yaml"):
                if is_file(folder / name):
                    return folder / name
    raise SpecError(f"extends: no file {brief(named)}", where, f"give a path relative to {shown(path.parent)}")


def at_scale(tree: Tree, scale: str, base: Tree | None = None) -> Tree:
    """One file's body on `base`, and its overlay of `scale` on both; `scales` itself is dropped."""
    drop = ("scales", "scale")
    body = Tree(
        {k: v for k, v in tree.value.items() if k not in drop},
        {k: v for k, v in tree.origins.items() if not k or k[0] not in drop},
        tree.faults + _faults_of_scales(tree),
    )
    out = merge(body if base is None else merge(base, body), subtree(tree, ("scales", scale)))
    out.origins[()] = body.origins.get((), "")  # a fault of the whole spec is reported at the nearest file
    out.value["scale"], out.origins["scale",] = scale, "--scale"
    return out


def _faults_of_scales(tree: Tree) -> list[Fault]:
    """The faults of a file's `scales`, and of a `scale` key in it."""
    scales, faults = tree.value.get("scales"), []
    if scales is not None and not isinstance(scales, dict):
        faults.append(Fault(tree.origin(("scales",)), "scales", "should be a mapping of smoke, small, paper"))
    for name, part in scales.items() if isinstance(scales, dict) else ():
        where, key = tree.origin(("scales", name)), f"scales.{name}"
        if name not in SCALES:
            faults.append(Fault(where, key, "unknown scale", f"known: {', '.join(SCALES)}"))
        elif not (part is None or isinstance(part, dict)):
            faults.append(Fault(where, key, "should be a mapping"))
    if "scale" in tree.value:
        faults.append(Fault(tree.origin(("scale",)), "scale", "is chosen by --scale, not by a file"))
    return faults


def put(tree: Tree, path: Key, value: Any, origin: str) -> Tree:
    """`tree` with `value` at `path`, also in every choice of its grid that sets that path.

    An axis over exactly this key is reduced to the value. An axis over a key inside a block set here is kept.
    """
    tree = merge(tree, planted(path, value, origin))
    grid = tree.value.get("grid")
    if path[0] == "grid" or not isinstance(grid, dict):
        return tree
    changed = {axis: _fixed(axis, choices, path, value) for axis, choices in grid.items()}
    return Tree({**tree.value, "grid": changed}, tree.origins, tree.faults)


def _fixed(axis: str, choices: Any, path: Key, value: Any) -> Any:
    if isinstance(choices, list):
        return [value] if axis == ".".join(path) else choices
    if not isinstance(choices, dict):
        return choices
    return {name: _chosen(keys, path, value) if isinstance(keys, dict) else keys for name, keys in choices.items()}


def _chosen(keys: dict[str, Any], path: Key, value: Any) -> dict[str, Any]:
    """A choice's dotted keys, with `value` merged into the one that is `path` or contains it."""
    chosen = dict(keys)
    for key, old in keys.items():
        head = tuple(str(key).split("."))
        if path[: len(head)] == head and (isinstance(old, dict) or path == head):
            chosen[key] = merge(Tree({"it": old}), planted(("it", *path[len(head) :]), value, "")).value["it"]
    return chosen


def planted(path: Key, value: Any, origin: str) -> Tree:
    """A tree that holds only `value` at `path`."""
    nested: Any = value
    for key in reversed(path):
        nested = {key: nested}
    planted_tree = Tree(nested, {path[: i + 1]: origin for i in range(len(path))})
    _mark(value, path, origin, planted_tree.origins)
    return planted_tree


def _mark(value: Any, path: Key, origin: str, origins: dict[Key, str]) -> None:
    for key, part in value.items() if isinstance(value, dict) else ():
        origins[(*path, key)] = origin
        _mark(part, (*path, key), origin, origins)
