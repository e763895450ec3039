"""The predictions to trace: inputs, and perhaps labels, from one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.core.errors import MissingError, SpecError
from experiments.core.models.state import read_arrays, read_state
from experiments.core.recorded.participants import refuse_pickle
from experiments.core.recorded.run_file import RUN_FILE, RecordSpec
from experiments.core.spec.reader import shown

INPUTS = ("inputs", "x", "images", "test_images")
LABELS = ("labels", "label", "y", "test_labels")
"""Names of arrays in a file, the first that is there counts."""

_UNSCALED = (
    f"uint8 images are divided by 255, no more: if training shifted and scaled them too, add mean and deviation to "
    f"{RUN_FILE}"
)

TOKENS = ("transformer", "custom")
"""Kinds of models that may take integers."""


@dataclass(frozen=True)
class OwnInputs:
    """Inputs as the model takes them: x [n, ...] (floating point, or int64 token ids), labels [n] int64 or None.

    `remarks` say what had to be assumed of them.
    """

    x: Tensor
    labels: Tensor | None
    remarks: tuple[str, ...] = ()


def read_inputs(path: Path, spec: RecordSpec) -> OwnInputs:
    """Read .npz, .npy or .safetensors; nothing is unpickled.

    Arrays named `inputs` or `x` (or the only one of a .npy file) are taken as they are, in the form the model was
    trained on: floats [n, ...], or token ids. Arrays named `images` or `test_images` may also be uint8, [n, H, W] or
    [n, H, W, C]: they are divided by 255, shifted and scaled by run.yaml's mean and deviation (a remark where it has
    none), and brought to [n, C, H, W]. Labels are optional.

    Raises:
        MissingError: the file is not there.
        SpecError: another format, nothing of these names, or unfit for the model of `spec`.
    """
    arrays = _arrays(path)
    name = next((key for key in INPUTS if key in arrays), None)
    if name is None:
        raise SpecError(
            f"no inputs in the file (it holds {', '.join(sorted(arrays)) or 'nothing'})",
            shown(path),
            "name an array `inputs`",
        )
    x, remarks = arrays[name], tuple[str, ...]()
    if name.endswith("images"):
        x, remarks = _scaled(_channels_first(x, spec), spec, path)
    _check(x, spec, path)
    labels = next((arrays[key] for key in LABELS if key in arrays), None)
    return OwnInputs(_tensor(x, spec, path), None if labels is None else _labels(labels, len(x), spec, path), remarks)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file, by its name."""
    refuse_pickle(path, "save the inputs with numpy.savez(path, inputs=x)")
    try:
        exists = path.is_file()
    except OSError as fault:
        what = f"cannot read the inputs ({fault.strerror})"
        raise MissingError(what, shown(path), "check the name, and that you may read it") from fault
    if not exists:
        raise MissingError("no file of inputs", shown(path), "name a .npz, .npy or .safetensors file with --inputs")
    if path.suffix == ".safetensors":
        return {key: _numpy(tensor) for key, tensor in read_state(path).items()}
    if path.suffix not in (".npz", ".npy"):
        raise SpecError(f"inputs in a {path.suffix or 'nameless'} file", shown(path), "give .npz, .npy or .safetensors")
    return read_arrays(path)


def _numpy(tensor: Tensor) -> np.ndarray:
    """A tensor as an array; half precision, which numpy may not know, is widened."""
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _channels_first(images: np.ndarray, spec: RecordSpec) -> np.ndarray:
    """Pictures [n, H, W] or [n, H, W, C] as the models take them: [n, C, H, W]."""
    if spec.shape is not None and images.shape[1:] == spec.shape:
        return images
    if images.ndim == 3:
        return images[:, None]
    last = images.ndim == 4 and images.shape[3] in (1, 3, 4) and images.shape[1] not in (1, 3, 4)
    return np.moveaxis(images, 3, 1) if last else images


def _scaled(images: np.ndarray, spec: RecordSpec, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bytes [n, C, H, W] as parts of one, shifted and scaled as in training, and a remark where that is not known."""
    if images.dtype != np.uint8:
        return images, ()
    x = images.astype(np.float32) / 255
    if not spec.mean:
        return x, (_UNSCALED,)
    if images.ndim != 4 or len(spec.mean) != images.shape[1]:
        raise SpecError(
            f"images of shape {list(images.shape[1:])}, but {RUN_FILE} has mean and deviation of {len(spec.mean)} "
            "channels",
            shown(path),
            "give [n, H, W, channels], or correct mean and deviation",
        )
    mean, deviation = (np.array(part, np.float32)[:, None, None] for part in (spec.mean, spec.deviation))
    return (x - mean) / deviation, ()


def _check(x: np.ndarray, spec: RecordSpec, path: Path) -> None:
    """Raise SpecError unless x [n, ...] is something the model can take."""
    wanted = "[n, " + ", ".join(map(str, spec.shape)) + "]" if spec.shape else "[n, ...], n at least 1"
    if x.ndim < 2 or not len(x) or (spec.shape is not None and x.shape[1:] != spec.shape):
        raise SpecError(
            f"inputs of shape {list(x.shape)}, but the model takes {wanted}",
            shown(path),
            "save them as they were in training",
        )
    if x.dtype.kind not in "fiu":
        raise SpecError(f"inputs of type {x.dtype}", shown(path), "give floating-point numbers or integer token ids")
    if x.dtype.kind != "f" and spec.model.kind not in TOKENS:
        raise SpecError(
            f"inputs of type {x.dtype}, but model {spec.model.kind} takes floating-point numbers",
            shown(path),
            "save them as they were in training: scaled and normalised floats; bytes of images under the name `images`",
        )
    bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1)) if x.dtype.kind == "f" else np.zeros(0)
    if len(bad):
        raise SpecError(f"input {int(bad[0])} holds NaN or infinity", shown(path), "remove or correct that input")


def _tensor(x: np.ndarray, spec: RecordSpec, path: Path) -> Tensor:
    """Floats as they are (half precision widened), integers as int64."""
    if x.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64 if x.dtype == np.float64 else np.float32))
    if x.min() < 0:
        raise SpecError(f"token id {int(x.min())} is negative", shown(path), "give ids of the model's vocabulary")
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.int64))


def _labels(labels: np.ndarray, count: int, spec: RecordSpec, path: Path) -> Tensor:
    """Labels [n], each one of the classes."""
    flat = labels.reshape(-1)
    if flat.dtype.kind not in "iu" or len(flat) != count:
        raise SpecError(
            f"{count} inputs, but labels of shape {list(labels.shape)} and type {labels.dtype}",
            shown(path),
            "give n integers",
        )
    wrong = np.flatnonzero((flat < 0) | (flat >= spec.classes))
    if len(wrong):
        raise SpecError(
            f"label {int(flat[wrong[0]])} of input {int(wrong[0])} is outside 0..{spec.classes - 1}",
            shown(path),
            "correct it",
        )
    return torch.from_numpy(flat.astype(np.int64))
