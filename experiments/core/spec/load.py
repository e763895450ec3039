"""Loading a spec: read, extend, scale, override, validate; all faults are reported at once, with their locations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from experiments.core.errors import SpecError, suggestion, unknown
from experiments.core.paper import Paper, papers
from experiments.core.spec.faults import faults_of
from experiments.core.spec.find import find
from experiments.core.spec.override import Override, overridden
from experiments.core.spec.reader import shown
from experiments.core.spec.standin import laid, parted, stood_in
from experiments.core.spec.tree import SCALES, gather, put
from experiments.core.spec.values import Fault, Key, Tree, brief

MOST_FAULTS = 50
"""Limit on the faults reported for one spec."""


@dataclass(frozen=True)
class Loaded:
    """A validated spec, where each value came from (dotted key -> file:line, option or "default"), and its file.

    Attributes:
        stand_in: kind of the substitute data that its file offers if its data are missing; "" if none.
    """

    spec: Any
    origins: dict[str, str]
    path: Path
    paper: Paper
    stand_in: str = ""


def load(
    source: str | Path,
    paper: str | None = None,
    scale: str = "small",
    overrides: Sequence[Override] = (),
    model_factory: str | None = None,
    data_override: str | None = None,
    stand_in: bool = False,
) -> Loaded:
    """Read the spec `source` at `scale`.

    Args:
        source: a path, or a name that `find` knows.
        paper: the paper it must belong to; None takes it from the file.
        scale: smoke, small or paper.
        overrides: command-line values that replace the file's (`read_overrides` of --set, `option` of an option).
        model_factory: "package.module:callable" that replaces the model (the command line's --model), and with it the
            file's `init` by `keep`, unless `overrides` name a scheme.
        data_override: kind of data that replaces the data block (--data); a kind other than the setting's is a
            stand-in, marked as such in the name.
        stand_in: apply the file's `stand_in` overlay, as if its data were missing; else no effect.

    Raises:
        SpecError: with every fault, as "file:line: key: message".
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES, "--scale")
    path = find(source, paper)
    tree, overlay = parted(gather(path, scale))
    owner = _owner(tree, path, paper)
    for key, value in (("paper", owner.name), ("name", path.stem)):
        if key not in tree.value:
            tree.value[key], tree.origins[key,] = value, shown(path)
    if data_override is not None:
        tree = stood_in(tree, data_override, overlay)
    elif stand_in and overlay.value:
        tree = laid(tree, overlay)
    if model_factory is not None:  # the file's scheme was for the file's model; --set can still choose one
        tree = put(tree, ("init",), "keep", f"--model {model_factory}")
    tree = overridden(tree, overrides)
    no_foreign_code(tree)
    if model_factory is not None:
        block = {"kind": "custom", "factory": model_factory}
        tree = put(tree, ("model",), block, f"--model {model_factory}")
    spec = validated(spec_class(owner, tree), tree, shown(path))
    offered = str(overlay.value["data"].get("kind")) if overlay.value else ""
    return Loaded(spec, origins(spec, tree), path, owner, offered)


def validated(cls: type[BaseModel], tree: Tree, name: str) -> Any:
    """`tree` as an instance of `cls`.

    Raises:
        SpecError: with all faults, in the order of their locations.
    """
    faults, spec = list(tree.faults), None
    try:
        # Via JSON: strict validation then accepts lists for tuples and strings for paths, as YAML writes them.
        spec = cls.model_validate_json(json.dumps(tree.value))
    except ValidationError as error:
        faults += faults_of(error, cls, tree)
    if not faults:
        return spec
    raise _as_error(sorted(faults, key=_place), name)


def _as_error(faults: list[Fault], name: str) -> SpecError:
    """One error for all faults; a single fault fills its three parts."""
    lines = tuple(str(fault) for fault in faults[:MOST_FAULTS])
    if len(faults) > MOST_FAULTS:
        lines += (f"{name}: and more",)
    if len(faults) == 1:
        (fault,) = faults
        what = f"{fault.key}: {fault.what}" if fault.key else fault.what
        return SpecError(what, fault.where or name, fault.hint or "correct this value", lines)
    return SpecError(f"{len(faults)} faults in the spec", name, "correct these lines", lines)


def _place(fault: Fault) -> tuple[str, int, str]:
    head, _, line = fault.where.rpartition(":")
    return (head, int(line), fault.key) if line.isdigit() else (fault.where, 0, fault.key)


def _owner(tree: Tree, path: Path, paper: str | None) -> Paper:
    """The paper the spec belongs to: from the command, the key `paper`, or the folder."""
    known, written = papers(), tree.value.get("paper")
    name = written if written is not None else paper or path.resolve().parent.name
    where = tree.origin(("paper",)) if written is not None else shown(path)
    if not isinstance(name, str) or name not in known:
        raise SpecError(f"paper: no paper {brief(name)}", where, suggestion(str(name), known))
    if paper is not None and name != paper:
        raise SpecError(f"paper: this spec belongs to {name!r}, not {paper!r}", where, f"run `fedlab {name}`")
    return known[name]


def spec_class(paper: Paper, tree: Tree) -> type[BaseModel]:
    """The class of a paper's spec. A paper with several classes has a dict of them; the key `experiment` chooses.

    Raises:
        SpecError: on an unknown `experiment`.
    """
    named = paper.resolve("spec")
    if not isinstance(named, dict):
        return named
    choice = tree.value.get("experiment", next(iter(named)))
    if not isinstance(choice, str) or choice not in named:
        raise SpecError(
            f"experiment: unknown value {brief(choice)}", tree.origin(("experiment",)), suggestion(str(choice), named)
        )
    return named[choice]


def no_foreign_code(tree: Tree) -> None:
    """Reject a spec that names code to import.

    Raises:
        SpecError: a model's kind is `custom`.
    """
    custom_path = next(_custom(tree.value, ()), None)
    if custom_path is not None:
        raise SpecError(
            f"{'.'.join(custom_path)}: custom is not accepted from a file or --set",
            tree.origin(custom_path),
            "give --model package.module:callable on the command line",
        )


def _custom(value: Any, path: Key) -> Iterator[Key]:
    """The paths of every `kind: custom`, also in an axis of a grid."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _custom(part, (*path, str(key)))
    elif isinstance(value, list):
        for part in value:
            yield from _custom(part, path)
    elif value == "custom" and path and path[-1].rpartition(".")[2] == "kind":
        yield path


def origins(spec: BaseModel, tree: Tree) -> dict[str, str]:
    """Dotted key of every value of `spec` -> where it was written, or "default"."""
    sources: dict[str, str] = {}

    def walk(block: BaseModel, path: tuple[str, ...]) -> None:
        for key in type(block).model_fields:
            at, value = (*path, key), getattr(block, key)
            if isinstance(value, BaseModel):
                walk(value, at)
            else:
                sources[".".join(at)] = tree.origins.get(at, "default")

    walk(spec, ())
    return sources
