"""Cutting a network behind a named block: what comes out of it, and what enters the rest beside that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from experiments.core.engine.draws import drawing
from experiments.core.errors import SpecError


def path_of(module: nn.Module, block: str, where: str = "algorithm.split") -> str:
    """The path in `module` of the block called `block`: a short name in the module's `blocks`, or a path itself.

    Args:
        where: the key of a spec that names the block, for the error.

    Raises:
        SpecError: there is no such block.
    """
    named = getattr(module, "blocks", None)
    short: dict[str, str] = named if isinstance(named, dict) else {}  # others keep layers under this name
    paths = [path for path, _ in module.named_modules() if path]
    path = short.get(block, block)
    if path not in paths:
        known = list(short) or paths
        shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        raise SpecError(f"the model has no block {block!r} to split behind", where, f"use one of {shown}")
    return path


_SHOWN = 30


def feature_shape(module: nn.Module, block: str, x: Tensor) -> tuple[int, ...]:
    """The shape of one sample's features behind `block`, found by sending x [2, ...] through the model.

    Raises:
        SpecError: no such block; inputs that are ids; a block that gives no features of each sample.
    """
    path = path_of(module, block)
    if not x.is_floating_point():
        raise SpecError("features of token ids cannot be sampled", "algorithm.kind", "use it with images or numbers")
    was, like = module.training, next(iter(module.parameters()), x)
    with torch.no_grad(), drawing(0, x.device), behind(module, path, None) as seen:
        module.eval()(x.to(like.device, like.dtype))
        module.train(was)
    if len(seen) != 1 or not isinstance(seen[0], Tensor) or len(seen[0]) != len(x) or seen[0].dim() < 2:
        raise SpecError(
            f"block {block!r} does not give one row of features a sample, once a pass",
            "algorithm.split",
            "split behind another block",
        )
    return tuple(seen[0].shape[1:])


@contextmanager
def behind(module: nn.Module, path: str, features: Tensor | None) -> Iterator[list[Any]]:
    """Passes through `module` inside the context go on, behind the block at `path`, with `features` [m, ...] as well.

    So the rest of the network sees real and further features in one batch, and no gradient flows into the latter.

    Yields:
        The list of what the block gave in each pass, [n, ...].
    """
    seen: list[Any] = []

    def hook(_block: nn.Module, _inputs: Any, output: Any) -> Any:
        seen.append(output)
        return None if features is None else torch.cat([output, features])

    handle = module.get_submodule(path).register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
