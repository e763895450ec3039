"""The state dicts of a recorded round as flat states of a model, also where they leave something out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.models.naming import own_names
from experiments.core.models.state import misfit, missing, read_state
from experiments.core.recorded.files import RoundFiles
from experiments.core.spec.reader import shown

_SHOWN = 3
_FILLED = (
    "the global state leaves out {} (kept by the clients?): the mean of the clients', weighed like the rest, stands "
    "in, as FedAvg of whole states would have it"
)
_KEPT = (
    "no state holds {}: what the model is built with stands in{}, as after load_state_dict(strict=False); if the model "
    "whose predictions you ask about has others, save its whole state_dict() as the global state"
)
_UNSENT = "the clients' states leave out {}: taken as in the global state, as if the clients had not changed them"


def read_named(module: nn.Module, path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict in `path` under the module's names, and what was done to the names, in words or "".

    Raises:
        MissingError, SpecError: see `read_state` and `own_names`.
    """
    named = own_names(module, read_state(path), shown(path))
    return _all_names(module, named.tensors), named.note


class RoundStates:
    """The global state and those of the clients, as flat vectors in the arithmetic and on the device of the model.

    Names are brought to the model's own. Integer counters may be missing, and all but one name of a tensor that layers
    share. What else is left out is filled in, and said in `notes`: of the clients' states, all of which must hold the
    same, by the global one; of the global one by the clients' weighted mean, else, where the model does not train it
    (running statistics, frozen parameters), by what the model is built with.

    Attributes:
        after: [size] theta_G, the global model after the round.
    """

    def __init__(self, net: Net, files: RoundFiles, shares: Tensor, model_from: str) -> None:
        """Read the global state and the first client's.

        Args:
            shares: [K] aggregation weights. model_from: what named the model, for messages.

        Raises:
            MissingError: a file cannot be read.
            SpecError: it is damaged, holds NaN, or does not fit (names the first tensor that is missing, extra,
                misshapen or of integers).
        """
        self._net, self._files, self._model_from = net, files, model_from
        self._tensors = {**dict(net.module.named_parameters()), **dict(net.module.named_buffers())}
        self._notes: dict[str, dict[str, None]] = {}
        whole = self._read(files.whole)
        self._sent: frozenset[str] | None = None
        first = self._read_client(0)
        lost = missing(net.module, whole)
        filled = tuple(name for name in lost if name in first)
        unsaved = tuple(name for name in lost if name not in first)
        self._refuse_untold(unsaved)
        self.after = self._laid(net.flat(), whole, files.whole)
        if filled:
            self.after = self._laid(self.after, self._mean(filled, shares), files.whole)
        self._say_left_out(filled, unsaved, tuple(n for n in missing(net.module, first) if n in whole))

    @property
    def notes(self) -> list[str]:
        """What was done to read the states, with the files concerned."""
        return [_of_files(list(names)) + note for note, names in self._notes.items()]

    def locals(self, places: Sequence[int]) -> Tensor:
        """[len(places), size] theta_k of some participants, by their places in the round's `clients`.

        Raises:
            MissingError, SpecError: as above.
        """
        states = self.after.new_empty(len(places), len(self.after))
        for row, k in enumerate(places):
            states[row] = self._laid(self.after, self._read_client(k), self._files.models[k])
        return states

    def _read_client(self, k: int) -> dict[str, Tensor]:
        """Client k's state, once it holds what the first one's does."""
        held, path = self._read(self._files.models[k]), self._files.models[k]
        lost = frozenset(missing(self._net.module, held))
        if self._sent is None:
            self._sent = lost
        for name in sorted(lost - self._sent):
            raise self._misfit(f"tensor {name} is missing, and {self._files.models[0].name} holds it", path)
        for name in sorted(self._sent - lost):
            raise self._misfit(f"it holds {name}, and {self._files.models[0].name} does not", path)
        return held

    def _read(self, path: Path) -> dict[str, Tensor]:
        """The state in a file under the model's names, once it fits."""
        held, note = read_named(self._net.module, path)
        fault = misfit(self._net.module, held)
        if fault is not None:
            raise self._misfit(fault, path)
        if note:
            self._notes.setdefault(note, {})[path.name] = None
        return held

    def _misfit(self, fault: str, path: Path) -> SpecError:
        where = f"{shown(path)}; model from {self._model_from}"
        return SpecError(f"the state does not fit the model: {fault}", where, "name the model it was saved from")

    def _laid(self, base: Tensor, held: dict[str, Tensor], path: Path) -> Tensor:
        """The flat state `base` [size] with the tensors of `held` in their places, as a copy."""
        flat = base.clone()
        for slot in self._net.params + self._net.buffers:
            if slot.name in held:
                flat[slot.start : slot.stop] = held[slot.name].detach().reshape(-1).to(flat)
        if not bool(flat.isfinite().all()):  # they were, in the file
            what = f"the state holds numbers beyond {str(flat.dtype).removeprefix('torch.')}"
            raise SpecError(what, shown(path), "save the global model in the same precision")
        return flat

    def _mean(self, names: Sequence[str], shares: Tensor) -> dict[str, Tensor]:
        """Mean over the clients of the named tensors, weighted by `shares` [K]."""
        mean = {name: torch.zeros(self._tensors[name].shape, dtype=torch.float64) for name in names}
        for k, p in enumerate(shares.tolist()):
            held = self._read_client(k)
            for name, total in mean.items():
                total += p * held[name].double()
        return mean

    def _refuse_untold(self, names: Sequence[str]) -> None:
        """Raise SpecError where a tensor that no file holds is one that the model trains."""
        trained = {name for name, tensor in self._net.module.named_parameters() if tensor.requires_grad}
        if trained & set(names):
            raise SpecError(
                f"neither the global state nor the clients' hold {self._words(names)} (kept where it was trained?)",
                f"{shown(self._files.whole)}; model from {self._model_from}",
                f"save the whole state_dict() of the model whose predictions you ask about as {self._files.whole.name}",
            )

    def _say_left_out(self, filled: Sequence[str], unsaved: Sequence[str], unsent: Sequence[str]) -> None:
        if filled:
            self._notes[_FILLED.format(self._words(filled))] = {}
        if unsaved:
            plain = all(bool(((t == 0) | (t == 1)).all()) for t in map(self._tensors.__getitem__, unsaved))
            self._notes[_KEPT.format(self._words(unsaved), " (zeros and ones)" if plain else "")] = {}
        if unsent:
            self._notes[_UNSENT.format(self._words(unsent))] = {}

    def _words(self, names: Sequence[str]) -> str:
        """Some of `names`, how many more there are, and the kinds of layers they belong to."""
        layers = {type(self._net.module.get_submodule(name.rpartition(".")[0])).__name__ for name in names}
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"{', '.join(names[:_SHOWN])}{more} ({', '.join(sorted(layers))})"


def dtype_of(module: nn.Module, held: Mapping[str, Tensor]) -> torch.dtype:
    """The arithmetic of a state of `module`: float64 where it holds any, else float32 (half precision is widened).

    A server's mean of counters, which the module has as integers, says nothing.
    """
    counters = {name for name, buffer in module.named_buffers() if not buffer.is_floating_point()}
    double = any(tensor.dtype == torch.float64 for name, tensor in held.items() if name not in counters)
    return torch.float64 if double else torch.float32


def _all_names(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with every name of a tensor that layers share: a safetensors file holds it under one of them."""
    wanted = module.state_dict(keep_vars=True)
    given = {id(wanted[name]): tensor for name, tensor in tensors.items() if name in wanted}
    return {**{name: given[id(tensor)] for name, tensor in wanted.items() if id(tensor) in given}, **tensors}


def _of_files(names: Sequence[str]) -> str:
    """The files a note is about, before it."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}: " if names else ""
