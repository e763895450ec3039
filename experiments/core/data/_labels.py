"""One rule for labels, whatever file they come from.

Whole numbers stand for themselves: 0, 1, ... So do whole floats, and texts if all of them are numbers. Other texts are
class names, numbered in natural order. Anything else is rejected: labels are never truncated, and a typing error does
not create a model with a million outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    Naming = Callable[[str, int], str]

MOST = 100_000
"""Labels from this number on are treated as typing errors."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TODO = "give labels 0, 1, 2, ... or names of classes"


@dataclass(frozen=True)
class Labels:
    """Labels by the rule.

    Attributes:
        parts: [n] int64 for each part passed in.
        classes: number of model outputs.
        names: the classes' names by number where the labels are texts, else empty.
    """

    parts: tuple[np.ndarray, ...]
    classes: int
    names: tuple[str, ...] = ()


def numbered_labels(
    where: str, parts: Sequence[Any], outputs: int | None = None, naming: Naming | None = None
) -> Labels:
    """The labels of the training part and (if given) the test part as class numbers.

    Args:
        where: the file, for messages.
        parts: an array [n] of labels for each part, as the file holds them.
        outputs: number of model outputs; None: one for each class up to the largest.
        naming: (part, row) -> what a message calls that sample; None: "training sample 3".

    Raises:
        SpecError: labels that are neither whole numbers from 0 nor texts, or larger than `MOST`.
    """
    import numpy as np

    from experiments.core.data._clients import by_name

    called = naming or (lambda part, row: f"{part} sample {row}")
    named = [partial(called, word) for word in ("training", "test")][: len(parts)]
    read = [_read(where, np.asarray(part), name) for part, name in zip(parts, named, strict=True)]
    names: tuple[str, ...] = ()
    if not all(_numeric(part) for part in read):
        names, places = by_name(np.concatenate([part.astype(str) for part in read]))
        read = np.split(places, np.cumsum([len(part) for part in read])[:-1])
    numbers = [_checked(where, part.astype(np.float64), name) for part, name in zip(read, named, strict=True)]
    highest = max((int(part.max(initial=0)) for part in numbers), default=0)
    return Labels(tuple(part.astype(np.int64) for part in numbers), outputs or max(highest + 1, len(names), 2), names)


def is_number(text: str) -> bool:
    """Whether a text is a finite decimal number: 7, -1.5, 3e8."""
    return _NUMBER.fullmatch(text) is not None


def _read(where: str, labels: np.ndarray, named: Callable[[int], str]) -> np.ndarray:
    """Labels [n] as they are, bytes as texts, texts without blanks around them.

    Raises:
        SpecError: they are neither numbers nor texts.
    """
    import numpy as np

    if labels.ndim != 1:
        raise SpecError(f"labels of shape {labels.shape}", where, "give one label per sample")
    if labels.dtype.kind in "iubf":
        return labels
    if labels.dtype.kind not in "UST":
        raise SpecError(f"labels are {labels.dtype}", where, _TODO)
    try:
        texts = np.char.strip(np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels.astype(str))
    except UnicodeDecodeError as error:
        raise SpecError("labels are bytes that are not UTF-8", where, _TODO) from error
    if (empty := np.flatnonzero(texts == "")).size:
        raise SpecError(f"{named(int(empty[0]))} has no label", where, "give it one, or remove it")
    return texts


def _numeric(labels: np.ndarray) -> bool:
    """Whether labels are numbers, or texts that are all numbers."""
    import numpy as np

    return labels.dtype.kind != "U" or all(is_number(text) for text in np.unique(labels).tolist())


def _checked(where: str, labels: np.ndarray, named: Callable[[int], str]) -> np.ndarray:
    """The labels, each of which must be a whole number in [0, MOST)."""
    import numpy as np

    wrong = np.flatnonzero(~((labels >= 0) & (labels < MOST) & (labels == np.trunc(labels))))
    if wrong.size:
        row, value = int(wrong[0]), float(labels[wrong[0]])
        what = "negative" if value < 0 else f"not below {MOST}" if value >= MOST else "not a whole number"
        raise SpecError(f"{named(row)} has the label {value:.15g}, which is {what}", where, _TODO)
    return labels
