"""A model of one's own, named on the command line only: importing code must be the user's own act, never a file's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.core.errors import SpecError

Factory = Callable[[tuple[int, ...], int], Any]


def load_factory(name: str) -> Factory:
    """The callable that `--model package.module:callable` names, wrapped so that a wrong result is told plainly.

    The working directory is searched too. The callable takes (shape of one input without the batch, number of classes)
    and returns a torch.nn.Module.

    Raises:
        SpecError: it is misspelt, cannot be imported, or is not callable; when called: it fails or returns no module.
    """
    path, colon, attribute = name.partition(":")
    where = f"--model {name}"
    if not (path and colon and attribute):
        raise SpecError(
            "a model of one's own is named package.module:callable", where, "for example --model nets:small"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(path)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise SpecError(
            f"cannot import {path} ({type(error).__name__}: {error})", where, "name an importable module"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SpecError(f"{path} has no {attribute}", where, "name a function or class of that module")
        found = getattr(found, part)
    if not callable(found):
        raise SpecError(f"{attribute} is a {type(found).__name__}, not callable", where, "name a function or class")
    return lambda shape, classes: _called(found, shape, classes, where)


def _called(factory: Factory, shape: tuple[int, ...], classes: int, where: str) -> Any:
    """The module that the user's callable makes, once it is one."""
    from torch import nn

    try:
        module = factory(shape, classes)
    except Exception as error:  # whatever the user's code raises
        first = (str(error).splitlines() or [""])[0]
        raise SpecError(
            f"the callable failed for shape {shape} and {classes} classes ({type(error).__name__}: {first})",
            where,
            "give a callable that takes (shape of an input, number of classes)",
        ) from error
    if not isinstance(module, nn.Module):
        raise SpecError(f"the callable returned a {type(module).__name__}", where, "return a torch.nn.Module")
    return module
