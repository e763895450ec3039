"""Checkpoints of the library transformers, read from a folder; nothing is downloaded, only tensors are unpickled."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import MissingError, SpecError
from experiments.core.models._transformers import FAMILIES, built

if TYPE_CHECKING:
    from torch import Tensor

_DRAWN = {"bert": ("classifier.", "bert.pooler."), "gpt": ("score.",), "gpt2": ("score.",)}
"""Tensors that a checkpoint of a language model need not have: the head, and BERT's layer before it."""


def load(arch: str, folder: Path, classes: int, dropout: float) -> Any:
    """The checkpoint in `folder` with a head for `classes` classes: kept if its width matches, else to be drawn.

    On PyTorch's meta device, where only shapes matter, it is built from the configuration alone.

    Raises:
        MissingError: files are missing. SpecError: they are damaged, or do not hold this model.
    """
    import torch

    _check_type(arch, folder)
    if torch.empty(0).is_meta:
        return built(arch, _configuration(arch, folder, classes), dropout)
    theirs, drawn = _read(arch, folder, classes)
    config = theirs.config
    rows = 0 if arch == "bert" else 1
    config.vocab_size += rows
    module = built(arch, config, dropout)
    state = theirs.state_dict()
    embedding = next(name for name, part in theirs.named_parameters() if part is theirs.get_input_embeddings().weight)
    state[embedding] = _padded(state[embedding], rows)
    module.load_state_dict(state)
    module.loaded_tensors = frozenset(state) - drawn
    module.weights_from = _weights_note(folder)
    return module


def _padded(embedding: Tensor, rows: int) -> Tensor:
    """`rows` rows of zeros before an embedding [V, d]."""
    import torch

    return torch.cat([embedding.new_zeros(rows, embedding.shape[1]), embedding])


def _weights_note(folder: Path) -> str:
    """The folder's name, and the SHA-256 of its weights if they are a single file."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            with (folder / name).open("rb") as opened:
                return f"{folder.name} sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()[:16]}"
    return folder.name


def _configuration(arch: str, folder: Path, classes: int) -> Any:
    import transformers

    config = getattr(transformers, FAMILIES[arch][1]).from_pretrained(folder, local_files_only=True)
    config.update({"num_labels": classes, "vocab_size": config.vocab_size + (arch != "bert")})
    return config


def _read(arch: str, folder: Path, classes: int) -> tuple[Any, frozenset[str]]:
    """The library's model, and the names of its tensors that were not in the checkpoint."""
    import torch
    import transformers

    try:
        with _quiet():
            model, loading_info = getattr(transformers, FAMILIES[arch][2]).from_pretrained(
                folder,
                local_files_only=True,
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                num_labels=classes,
                dtype=torch.float32,
            )
    except Exception as error:  # the library raises many kinds of errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's message says how to load it unsafely
            first = "not a file of tensors only, or damaged"
        todo = "give model.safetensors, or a pytorch_model.bin of plain tensors"
        kind = MissingError if isinstance(error, OSError) and "no file named" in str(error) else SpecError
        raise kind(f"cannot read the checkpoint ({first})", str(folder), todo) from error
    drawn = frozenset(loading_info["missing_keys"]) | {item[0] for item in loading_info["mismatched_keys"]}
    wrong = sorted(key for key in drawn if not key.startswith(_DRAWN[arch]))
    if wrong:
        what = f"{wrong[0]} is missing from the checkpoint or has another shape"
        raise SpecError(what, str(folder), "use a whole checkpoint of this family")
    for name, tensor in model.state_dict().items():
        if name not in drawn and not bool(tensor.isfinite().all()):
            raise SpecError(f"{name} holds NaN or infinity", str(folder), "use weights of a training run without NaN")
    return model, drawn


def _check_type(arch: str, folder: Path) -> None:
    """Raise MissingError or SpecError unless config.json names the family."""
    file, wanted = folder / "config.json", FAMILIES[arch][0]
    try:
        model_type = str(json.loads(file.read_text("utf-8"))["model_type"])
    except OSError as error:
        raise MissingError("no config.json", str(folder), "name the folder of a checkpoint") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError("not a model's configuration", str(file), "it must be JSON that names a model_type") from error
    if model_type != wanted:
        raise SpecError(f"a checkpoint of {model_type}, not of {wanted}", str(folder), "correct model.arch")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's progress bars, notes and warnings; relevant ones become errors here."""
    import warnings

    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
