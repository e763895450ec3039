"""The normalisation layers of the convolutional nets, by the word that a spec uses for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def normalisation(word: str, groups: int) -> Callable[[int], nn.Module]:
    """What makes the normalisation of so many channels: "batch", or "group" with so many groups (Wu and He 2018)."""
    from torch import nn

    makers: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "group": partial(nn.GroupNorm, groups),
    }
    return makers[word]
