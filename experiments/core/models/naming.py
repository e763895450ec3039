"""Names of tensors in files brought to a module's own: wrappers put a prefix before them, lists of arrays have none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Named:
    """Tensors under a module's own names.

    Attributes:
        tensors: by name; names that the module has not are left as they were. note: what was done to names, in words,
            "" where nothing was.
    """

    tensors: dict[str, Tensor]
    note: str = ""


def own_names(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> Named:
    """`tensors` under the names of `module`'s state dict.

    Names that differ by one prefix throughout (a wrapper's, as of torch.compile, DataParallel or Opacus; or one that
    only the module has) are changed by it; the prefix is found by comparison. Nameless arrays (arr_0, arr_1, ... or 0,
    1, ...) are taken in their order, as the state dict or as the parameters alone, where every shape agrees.

    Args:
        where: the file, for messages.

    Raises:
        SpecError: nameless arrays are neither, or could be both.
    """
    known = module.state_dict()
    changes = list(_changes(tensors, known))
    off, put = max(changes, key=lambda change: _count(tensors, known, *change))
    if _count(tensors, known, off, put) < len(tensors):
        numbered = _numbered(tensors)
        if numbered and not known.keys() & tensors.keys():
            return _in_order(module, [tensors[name] for name in numbered], where)
    if not off and not put:
        return Named(dict(tensors))
    said = [f"prefix `{off}` taken off the names"] * bool(off) + [f"prefix `{put}` put before the names"] * bool(put)
    return Named({put + name[len(off) :]: tensor for name, tensor in tensors.items()}, ", ".join(said))


def _changes(names: Iterable[str], known: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(prefix to take off, prefix to put before) by which all of `names` can be changed, the least change first."""
    pairs = [(off, put) for off in _prefixes(names) for put in _prefixes(known)]
    return sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))


def _prefixes(names: Iterable[str]) -> list[str]:
    """The dotted prefixes that all of `names` share, the empty one first."""
    shared: list[str] = []
    for words in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    return ["".join(f"{word}." for word in shared[:depth]) for depth in range(len(shared) + 1)]


def _count(names: Iterable[str], known: Mapping[str, Tensor], off: str, put: str) -> int:
    """How many of `names` are known once changed."""
    return sum(put + name[len(off) :] in known for name in names)


def _numbered(names: Iterable[str]) -> list[str]:
    """`names` by their numbers where they are one word with the numbers 0, 1, 2, ... after it; else nothing."""
    matches = [re.fullmatch(r"(.*?)(0|[1-9]\d*)", name, re.ASCII | re.DOTALL) for name in names]
    places = {int(match[2]): match[0] for match in matches if match}
    whole = len({match[1] for match in matches if match}) == 1 and places.keys() == set(range(len(matches)))
    return [places[i] for i in range(len(matches))] if whole else []


def _in_order(module: nn.Module, arrays: Sequence[Tensor], where: str) -> Named:
    """Nameless arrays under the names of that listing of the module's state which is as long and has their shapes.

    Raises:
        SpecError: there is none.
    """
    whole = module.state_dict()
    listings = _listings(module)
    listing, names = listings.get(len(arrays), ("", ()))
    wrong = [(i, name) for i, name in enumerate(names) if arrays[i].shape != whole[name].shape]
    if listing and not wrong:
        note = f"{len(arrays)} arrays without names taken for {listing}, in order"
        return Named(dict(zip(names, arrays, strict=True)), note)
    said = f"{len(arrays)} of them, and it has " + " or ".join(f"{n} ({listings[n][0]})" for n in listings)
    if wrong:
        i, name = wrong[0]
        said = f"number {i} has shape {tuple(arrays[i].shape)}, {name} needs {tuple(whole[name].shape)}"
    raise SpecError(
        f"arrays without names do not fit the model: {said}",
        where,
        "name the model they were saved from, or save module.state_dict() with its names",
    )


def _listings(module: nn.Module) -> dict[int, tuple[str, tuple[str, ...]]]:
    """(what, names) of each way to list a module's state, by their lengths, which differ: each holds the one before."""
    whole, parameters = module.state_dict(), dict(module.named_parameters())
    real = [name for name, tensor in whole.items() if tensor.is_floating_point()]
    listings = {
        "the model's trained parameters": [name for name, tensor in parameters.items() if tensor.requires_grad],
        "the model's parameters": list(parameters),
        "the model's state dict without counters": real,
        "the model's state dict": list(whole),
    }
    return {len(names): (listing, tuple(names)) for listing, names in listings.items() if names}
