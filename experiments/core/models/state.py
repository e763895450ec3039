"""State files: reading them without running code, and checking whether they fit a module."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import FedlabError, MissingError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor, nn


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict in a .safetensors or .npz file, or in one of torch.save (read with weights_only).

    Floating-point types of less than 16 bits are converted to float32.

    Raises:
        MissingError: the file cannot be read.
        SpecError: another format, damage, or content other than named, dense tensors of finite numbers.
    """
    import torch

    todo = "save module.state_dict() with safetensors.torch.save_file"
    readers: dict[str, Callable[[Path, str], Any]] = {".safetensors": _read_safetensors, ".npz": _read_npz}
    read = readers.get(path.suffix)
    content = _read_torch(path, f"{todo}, or with torch.save") if read is None else read(path, todo)

    if not isinstance(content, Mapping) or not content:
        raise SpecError(f"the file holds a {type(content).__name__}, not a state dict", str(path), todo)
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise SpecError(f"{name!r} in the file is a {type(tensor).__name__}, not a tensor", str(path), todo)
        if not _is_dense(tensor):
            raise SpecError(f"{name} is not a dense tensor of real numbers", str(path), todo)
    tensors = {name: _computable(name, tensor, path) for name, tensor in content.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SpecError(f"{name} holds NaN or infinity", str(path), "use weights of a training run without NaN")
    return tensors


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, or the one of a .npy file as "inputs"; nothing is unpickled.

    Raises:
        MissingError: the file cannot be read.
        SpecError: it is damaged, holds objects, or does not fit in the free memory once unpacked.
    """
    import zipfile

    import numpy as np

    from experiments.core.data._files import require_room

    try:
        raw = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with raw:
        try:
            if zipfile.is_zipfile(raw):
                require_room(sum(member.file_size for member in zipfile.ZipFile(raw).infolist()), path)
            raw.seek(0)
            opened: Any = np.load(raw, allow_pickle=False)
            return {"inputs": opened} if isinstance(opened, np.ndarray) else {key: opened[key] for key in opened.files}
        except FedlabError:
            raise
        except Exception as error:  # numpy and the zip reader can raise anything
            first = (str(error).splitlines() or [type(error).__name__])[0]
            what = f"not a valid {path.suffix} file ({first})"
            raise SpecError(what, str(path), "write it again with numpy") from error


def _computable(name: str, tensor: Tensor, path: Path) -> Tensor:
    """`tensor`; storage-only types (less than 16 bits) are converted to float32."""
    if not tensor.is_floating_point() or tensor.element_size() > 1:
        return tensor
    try:
        return tensor.float()
    except (RuntimeError, NotImplementedError) as error:
        what = f"{name} holds {tensor.dtype}, which PyTorch does not convert"
        raise SpecError(what, str(path), "save the state in float32 or bfloat16") from error


def _is_dense(tensor: Tensor) -> bool:
    """Whether the file stores every number of the tensor: a tiny file can declare a tensor of petabytes."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def first_mismatch(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first reason, in words, why `tensors` are not a state of `module`; None where they fit.

    Tensors that `missing` returns are required; those that `misfit` reports are faults too.
    """
    lost = missing(module, tensors)
    return f"tensor {lost[0]} is missing" if lost else misfit(module, tensors)


def missing(module: nn.Module, names: Container[str]) -> tuple[str, ...]:
    """The parameters and floating-point buffers in the state dict of `module` that `names` lacks, in its own order.

    Integer buffers (BatchNorm's count of batches) and second names of a shared tensor may be missing.
    """
    known = module.state_dict()
    required = [name for name, _ in module.named_parameters()]
    required += [name for name, buffer in module.named_buffers() if name in known and buffer.is_floating_point()]
    return tuple(name for name in required if name not in names)


def misfit(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first of `tensors` that `module` lacks, has in another shape, or has as real numbers; in words."""
    expected: dict[str, Tensor] = {**dict(module.named_buffers()), **module.state_dict()}
    for name in [*(n for n in expected if n in tensors), *(n for n in tensors if n not in expected)]:
        fault = (
            _misshapen(name, tensors[name], expected[name])
            if name in expected
            else f"tensor {name} is not in the model"
        )
        if fault:
            return fault
    return None


def _misshapen(name: str, tensor: Tensor, wanted: Tensor) -> str | None:
    if tensor.shape == wanted.shape:
        whole = wanted.is_floating_point() and not tensor.is_floating_point()
        return f"tensor {name} holds {tensor.dtype}, the model needs real numbers" if whole else None
    return f"tensor {name} has shape {tuple(tensor.shape)}, the model needs {tuple(wanted.shape)}"


def _read_safetensors(path: Path, todo: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb"):  # the library's message for an unreadable file is misleading
            pass
        return load_file(path)
    except SafetensorError as error:
        raise SpecError(f"not a valid safetensors file ({error})", str(path), todo) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_npz(path: Path, todo: str) -> Any:
    import torch

    tensors = {}
    for name, array in read_arrays(path).items():
        try:
            tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
        except TypeError as error:
            # For types that numpy does not know (bfloat16), it keeps the bits but not their meaning.
            what = f"{name} holds numbers of type {array.dtype}"
            raise SpecError(what, str(path), f"convert them with .astype('float32'), or {todo}") from error
    return tensors


def _read_torch(path: Path, todo: str) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about content that is rejected below
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except pickle.UnpicklingError as error:
        # Raised for what weights_only rejects and for files that are not pickles.
        raise SpecError("not a file of tensors only, or damaged", str(path), todo) from error
    except Exception as error:  # torch and the zip reader can raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"not a valid file of weights ({first})", str(path), todo) from error


def _unreadable(path: Path, error: OSError) -> MissingError:
    return MissingError(f"cannot read the file ({error.strerror or error})", str(path), "check that it is there")
