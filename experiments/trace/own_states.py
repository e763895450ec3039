"""State dicts in safetensors files as flat states of a model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.models.state import first_mismatch, read_state
from experiments.core.spec.reader import shown


def flat_state(net: Net, path: Path, model_from: str) -> Tensor:
    """The state dict in `path` as a flat state [size] in the arithmetic and on the device of `net`'s module.

    Integer counters may be missing, and all but one name of a tensor that layers share.

    Args:
        net: the model. path: a safetensors file. model_from: what named the model, for messages.

    Raises:
        MissingError: the file cannot be read.
        SpecError: it is damaged, holds NaN, or does not fit (names the first tensor that is missing, extra, misshapen
            or of integers).
    """
    tensors = _all_names(net.module, read_state(path))
    misfit = first_mismatch(net.module, tensors)
    if misfit is not None:
        raise SpecError(
            f"the state does not fit the model: {misfit}", f"{shown(path)}; model from {model_from}", _mend(tensors)
        )
    # Buffers that a module keeps out of its state dict are constants of its own.
    own = {**dict(net.module.named_parameters()), **dict(net.module.named_buffers())}
    parts = (tensors.get(s.name, own[s.name]).detach().to(own[s.name]).reshape(-1) for s in net.params + net.buffers)
    flat = torch.cat(list(parts))
    if not bool(flat.isfinite().all()):  # they were, in the file
        what = f"the state holds numbers beyond {str(flat.dtype).removeprefix('torch.')}"
        raise SpecError(what, shown(path), "save the global model in the same precision")
    return flat


def dtype_of(path: Path) -> torch.dtype:
    """The arithmetic of a state dict: float64 where it holds any, else float32 (half precision is widened).

    Raises:
        MissingError, SpecError: the file cannot be read, or is damaged.
    """
    double = any(tensor.dtype == torch.float64 for tensor in read_state(path).values())
    return torch.float64 if double else torch.float32


def _all_names(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with every name of a tensor that layers share: a safetensors file holds it under one of them."""
    wanted = module.state_dict(keep_vars=True)
    given = {id(wanted[name]): tensor for name, tensor in tensors.items() if name in wanted}
    return {**{name: given[id(own)] for name, own in wanted.items() if id(own) in given}, **tensors}


def _mend(tensors: dict[str, Tensor]) -> str:
    """What to do about a misfit."""
    wrapped = all(name.startswith("module.") for name in tensors)
    return "save model.module.state_dict(), not that of DataParallel" if wrapped else "name the model it was saved from"
