"""State dicts in safetensors files as flat states of a model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.errors import MissingError, NumericalError, SpecError
from experiments.core.models.state import first_mismatch
from experiments.core.spec.reader import shown


def flat_state(net: Net, path: Path, model_from: str) -> Tensor:
    """The state dict in `path` as a flat state [size] in the arithmetic of `net`'s module.

    Tensors that an aggregating server need not keep may be missing: integer counters, buffers that the module itself leaves out
    of its state dict, and all but one name of a shared tensor.

    Args:
        net: the model. path: a safetensors file. model_from: what named the model, for messages.

    Raises:
        SpecError: the file is damaged, or not of this model (names the first missing, extra or misshapen tensor).
        NumericalError: a tensor is not finite.
    """
    own = {**dict(net.module.named_parameters()), **dict(net.module.named_buffers())}
    tensors = _completed(net.module, read_tensors(path))
    misfit = first_mismatch(net.module, tensors)
    if misfit is not None:
        raise SpecError(
            f"the state dict does not fit the model of {model_from}: {misfit}", shown(path), "name the model it came from"
        )
    parts = []
    for slot in net.params + net.buffers:
        part = tensors.get(slot.name, own[slot.name]).detach()
        if not bool(torch.isfinite(part).all()):
            raise NumericalError(f"{slot.name} holds NaN or infinity", shown(path), "trace an earlier round")
        parts.append(part.to(own[slot.name]).reshape(-1))
    return torch.cat(parts)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        MissingError: it is not there or cannot be read. SpecError: it is no sound safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as fault:
        raise SpecError(
            f"not a sound safetensors file ({fault})",
            shown(path),
            "write it again with safetensors.torch.save_file(model.state_dict(), path)",
        ) from fault
    except OSError as fault:
        raise MissingError(f"cannot read the file ({fault})", shown(path), "check that it is there") from fault


def dtype_of(tensors: dict[str, Tensor]) -> torch.dtype:
    """The arithmetic of a state dict: float64 where it has any, else float32 (half precision is widened)."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors.values()) else torch.float32


def _completed(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with every name of a shared tensor and every integer counter, and without what no state dict holds."""
    wanted = module.state_dict(keep_vars=True)
    passing = {name for name, _ in module.named_buffers()} - set(wanted)
    found = {name: tensor for name, tensor in tensors.items() if name not in passing}
    given = {id(wanted[name]): tensor for name, tensor in tensors.items() if name in wanted}
    for name, own in wanted.items():
        if name not in found and id(own) in given:
            found[name] = given[id(own)]
        elif name not in found and not own.is_floating_point():
            found[name] = own
    return found
