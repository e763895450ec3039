"""The user's model, accepted on the command line only: a spec file must never cause code to be imported."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.core.errors import SpecError

Factory = Callable[[tuple[int, ...], int], Any]


def load_factory(name: str) -> Factory:
    """The object of `--model package.module:name`, as a callable of (shape, classes) that checks its result.

    The working directory is searched too. The name is that of a function or class that returns a torch.nn.Module, or of
    such a module itself, of which each call gives a copy. By its signature a callable gets `shape` (of one input
    without the batch) and `classes` (their number) by name, as far as it has them, where it needs no other argument;
    else both in this order.

    Raises:
        SpecError: it is misspelt, cannot be imported, or is not callable; it needs other arguments; when called: it
            fails or returns no module.
    """
    path, colon, attribute = name.partition(":")
    where = f"--model {name}"
    if not (path and colon and attribute):
        raise SpecError("your own model is given as package.module:callable", where, "for example --model nets:small")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory: Any = importlib.import_module(path)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise SpecError(
            f"cannot import {path} ({type(error).__name__}: {error})", where, "name an importable module"
        ) from error
    for part in attribute.split("."):
        if not hasattr(factory, part):
            raise SpecError(f"{path} has no {attribute}", where, "name a function or class of that module")
        factory = getattr(factory, part)
    if not callable(factory):
        raise SpecError(f"{attribute} is a {type(factory).__name__}, not callable", where, "name a function or class")
    return lambda shape, classes: _called(factory, shape, classes, where)


def _called(factory: Callable[..., Any], shape: tuple[int, ...], classes: int, where: str) -> Any:
    """The module that the user's callable returns, checked; for a module, a copy."""
    from torch import nn

    if isinstance(factory, nn.Module):
        return _sized(copy.deepcopy(factory), shape, where)
    positional, by_name = _arguments(factory, shape, classes, where)
    try:
        module = factory(*positional, **by_name)
    except Exception as error:  # whatever the user's code raises
        first = (str(error).splitlines() or [""])[0]
        raise SpecError(
            f"the callable failed for shape {shape} and {classes} classes ({type(error).__name__}: {first})",
            where,
            "give a callable of (shape of an input, number of classes), or of none",
        ) from error
    if not isinstance(module, nn.Module):
        raise SpecError(f"the callable returned a {type(module).__name__}", where, "return a torch.nn.Module")
    return _sized(module, shape, where)


def _sized(module: Any, shape: tuple[int, ...], where: str) -> Any:
    """The module, after lazy layers (LazyLinear) are initialised with inputs of this shape.

    Raises:
        SpecError: they cannot.
    """
    import torch
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return module
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *shape))
    except Exception as error:  # whatever the user's code raises
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(
            f"its lazy layers do not take inputs of shape {shape}: {first}", where, "give these layers their sizes"
        ) from error
    return module.train()


def _arguments(
    factory: Callable[..., Any], shape: tuple[int, ...], classes: int, where: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments for the callable.

    Raises:
        SpecError: it needs other arguments.
    """
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):  # code in C may have no signature
        return (shape, classes), {}
    known = signature.parameters.values()
    offered = {"shape": shape, "classes": classes}
    by_name = {p.name: offered[p.name] for p in known if p.name in offered and p.kind is not p.POSITIONAL_ONLY}
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {p.name for p in known if p.default is p.empty and p.kind not in stars}
    open_ended = not by_name and any(p.kind is p.VAR_POSITIONAL for p in known)
    if needed <= by_name.keys() and not open_ended:
        return (), by_name
    try:
        signature.bind(shape, classes)
    except TypeError as error:
        raise SpecError(
            f"the callable needs the arguments {signature}",
            where,
            "give one of (shape of an input, number of classes), of these by name, or of none",
        ) from error
    return (shape, classes), {}
