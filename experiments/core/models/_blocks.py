"""Short names for the places in a model where its features may be taken: behind a block, a layer or a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def with_blocks(module: nn.Sequential, blocks: dict[str, str] | None = None) -> nn.Sequential:
    """The module with its attribute `blocks`: short name -> path of the module whose outputs are meant.

    Without `blocks`, those of a plain chain of layers: conv1, conv2, ... and fc1, fc2, ..., each behind the layer's
    normalisation, activation and pool, and before a dropout or a Flatten, which belong to what comes next. The last
    layer has none: behind it are the model's outputs.
    """
    module.blocks = chain_blocks(module) if blocks is None else blocks  # type: ignore[assignment]
    return module


def chain_blocks(module: nn.Sequential) -> dict[str, str]:
    """See `with_blocks`: the short names of a chain of layers."""
    from torch import nn

    words: dict[type[nn.Module], str] = {nn.Conv2d: "conv", nn.Linear: "fc"}
    # torch has no common base of dropouts that is public.
    between = (nn.Flatten, nn.Dropout, nn.Dropout2d)
    blocks: dict[str, str] = {}
    counts = dict.fromkeys(words.values(), 0)
    name = ""
    for path, layer in module.named_children():
        word = words.get(type(layer))
        if word is not None:
            counts[word] += 1
            name = f"{word}{counts[word]}"
        if name and not isinstance(layer, between):
            blocks[name] = path
    blocks.pop(name, None)
    return blocks
