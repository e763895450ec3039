"""Mapping tensor names in files to a module's: wrappers add a prefix to them, lists of arrays have none."""

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
        tensors: by name; names unknown to the module are unchanged. note: how names were changed, in words; "" if they
            were not.
    """

    tensors: dict[str, Tensor]
    note: str = ""


def own_names(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> Named:
    """`tensors` under the names of `module`'s state dict.

    A common prefix (of a wrapper such as torch.compile, DataParallel or Opacus; or one that only the module has) is
    removed or added; the prefix is found by comparison. Nameless arrays (arr_0, arr_1, ... or 0,
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
    changes_made = [f"prefix `{off}` taken off the names"] * bool(off) + [
        f"prefix `{put}` put before the names"
    ] * bool(put)
    return Named({put + name[len(off) :]: tensor for name, tensor in tensors.items()}, ", ".join(changes_made))


def _changes(names: Iterable[str], known: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(prefix to remove, prefix to add) pairs that apply to all of `names`, the smallest change first."""
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
    """How many of `names` are known after the change."""
    return sum(put + name[len(off) :] in known for name in names)


def _numbered(names: Iterable[str]) -> list[str]:
    """`names` in numerical order if they are one word followed by 0, 1, 2, ...; else an empty list."""
    matches = [re.fullmatch(r"(.*?)(0|[1-9]\d*)", name, re.ASCII | re.DOTALL) for name in names]
    places = {int(match[2]): match[0] for match in matches if match}
    whole = len({match[1] for match in matches if match}) == 1 and places.keys() == set(range(len(matches)))
    return [places[i] for i in range(len(matches))] if whole else []


def _in_order(module: nn.Module, arrays: Sequence[Tensor], where: str) -> Named:
    """Nameless arrays under the names of the listing of the module's state with the same length and shapes.

    Raises:
        SpecError: no listing matches.
    """
    whole = module.state_dict()
    listings = _listings(module)
    listing, names = listings.get(len(arrays), ("", ()))
    wrong = [(i, name) for i, name in enumerate(names) if arrays[i].shape != whole[name].shape]
    if listing and not wrong:
        note = f"{len(arrays)} arrays without names taken for {listing}, in order"
        return Named(dict(zip(names, arrays, strict=True)), note)
    mismatch = f"{len(arrays)} of them, and it has " + " or ".join(f"{n} ({listings[n][0]})" for n in listings)
    if wrong:
        i, name = wrong[0]
        mismatch = f"number {i} has shape {tuple(arrays[i].shape)}, {name} needs {tuple(whole[name].shape)}"
    raise SpecError(
        f"arrays without names do not fit the model: {mismatch}",
        where,
        "name the model they were saved from, or save module.state_dict() with its names",
    )


def _listings(module: nn.Module) -> dict[int, tuple[str, tuple[str, ...]]]:
    """(description, names) of each listing of a module's state, by length; each contains the one before."""
    whole, parameters = module.state_dict(), dict(module.named_parameters())
    real = [name for name, tensor in whole.items() if tensor.is_floating_point()]
    listings = {
        "the model's trained parameters": [name for name, tensor in parameters.items() if tensor.requires_grad],
        "the model's parameters": list(parameters),
        "the model's state dict without counters": real,
        "the model's state dict": list(whole),
    }
    return {len(names): (listing, tuple(names)) for listing, names in listings.items() if names}
