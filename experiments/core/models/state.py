"""States in files: reading them without running code, and telling whether they fit a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict in a .safetensors file, or in one of torch.save (read with weights_only).

    Raises:
        MissingError: the file cannot be read.
        SpecError: it is neither, it is damaged, or it holds something else than named, dense tensors of finite numbers.
    """
    todo = "save module.state_dict() with safetensors.torch.save_file"
    safe = path.suffix == ".safetensors"
    held = _read_safetensors(path, todo) if safe else _read_torch(path, f"{todo}, or with torch.save")
    import torch

    if not isinstance(held, Mapping) or not held:
        raise SpecError(f"the file holds a {type(held).__name__}, not a state dict", str(path), todo)
    for name, tensor in held.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise SpecError(f"{name!r} in the file is a {type(tensor).__name__}, not a tensor", str(path), todo)
        if not _is_dense(tensor):
            raise SpecError(f"{name} is no dense tensor of real numbers", str(path), todo)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SpecError(f"{name} holds NaN or infinity", str(path), "use weights of a sound training")
    return dict(held)


def _is_dense(tensor: Tensor) -> bool:
    """Whether every number of the tensor lies in the file: a tiny file can name a tensor of petabytes."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def first_mismatch(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first fault by which `tensors` are no state of `module`, in words; None where they fit.

    All parameters and floating-point buffers of the module are needed, in its own order; integer buffers (BatchNorm's
    count of batches) and second names of a shared tensor may be there. What is left over is a fault too, and integers
    where the model has real numbers.
    """
    known = module.state_dict()
    own: dict[str, Tensor] = dict(module.named_parameters())
    own |= {n: b for n, b in module.named_buffers() if n in known and b.is_floating_point()}
    for name, tensor in own.items():
        if name not in tensors:
            return f"tensor {name} is missing"
        fault = _misshapen(name, tensors[name], tensor)
        if fault:
            return fault
    more: dict[str, Tensor] = {**dict(module.named_buffers()), **known, **own}
    for name, tensor in tensors.items():
        if name not in more:
            return f"tensor {name} is not in the model"
        fault = _misshapen(name, tensor, more[name])
        if fault:
            return fault
    return None


def _misshapen(name: str, found: Tensor, wanted: Tensor) -> str | None:
    if found.shape == wanted.shape:
        whole = wanted.is_floating_point() and not found.is_floating_point()
        return f"tensor {name} holds {found.dtype}, the model needs real numbers" if whole else None
    return f"tensor {name} has shape {tuple(found.shape)}, the model needs {tuple(wanted.shape)}"


def _read_safetensors(path: Path, todo: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb"):  # the library's own words for what cannot be opened mislead
            pass
        return load_file(path)
    except SafetensorError as error:
        raise SpecError(f"not a sound safetensors file ({error})", str(path), todo) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_torch(path: Path, todo: str) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is refused in the next moment
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except pickle.UnpicklingError as error:
        # Raised for what weights_only refuses as well as for what is no pickle at all.
        raise SpecError("not a file of tensors only, or damaged", str(path), todo) from error
    except Exception as error:  # torch and the zip reader raise whatever they stumble upon
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"not a sound file of weights ({first})", str(path), todo) from error


def _unreadable(path: Path, error: OSError) -> MissingError:
    return MissingError(f"cannot read the file ({error.strerror or error})", str(path), "check that it is there")
