"""Models: one file per family, each a block of the spec that builds a plain torch module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def kinds() -> dict[str, type]:
    """Every kind of model, by the word a spec uses for it. Imports no torch."""
    import experiments.core.models as package
    from experiments.core.block import Block
    from experiments.core.discover import subclasses

    return subclasses(package, Block)


def build(block: Any, shape: tuple[int, ...], classes: int, data_dir: Path | None) -> nn.Module:
    """The module of a block, for inputs of `shape`; files that the block names are also searched for in `data_dir`.

    Raises:
        MissingError: a file is missing.
        SpecError: the model does not fit the inputs, or the file does not fit the model.
    """
    located = getattr(block, "located", None)
    return (block if located is None else located(data_dir)).build(shape, classes)
