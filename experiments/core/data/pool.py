"""A data set before it is dealt to clients, and the base of the blocks that load one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.core.block import Block
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


FILES = "the data set's own test files"
"""How most test sets were made."""


@dataclass(frozen=True)
class Pool:
    """Training and test samples of one data set.

    Attributes:
        x: [N, C, H, W] or [N, d] float32 training inputs, or [N, L] int64 token ids.
        y: [N] int64 labels in 0..classes-1, or [N, 1] float32 targets of a regression.
        owner: [N] int64, the natural client of each training sample (an index into `names`), or -1 where there is none.
        test_x, test_y: the test set, pooled over clients.
        names: the names of the natural clients; empty when there are none.
        classes: number of outputs of a model for this data (may exceed the labels that occur); 1 where `y` are targets.
        name: the data set's name as it appears in results.
        test_from: how the test set was made, in words that follow "truth is measured on 114 test samples: ".
        own_tests: whether the test samples were drawn here from the natural clients that train.
        lines: [N] int64, the line of the file for each training sample (as an editor counts), or None.
        test_lines: the same for the test set.
        notes: further processing that a user should know about, a sentence each.
        scale: mean and deviation of each channel by which images of 0..1 were shifted and scaled, if they were.
    """

    x: Tensor
    y: Tensor
    owner: Tensor
    test_x: Tensor
    test_y: Tensor
    names: tuple[str, ...]
    classes: int
    name: str
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    test_from: str = FILES
    own_tests: bool = False
    lines: Tensor | None = None
    test_lines: Tensor | None = None
    notes: tuple[str, ...] = ()


class DataBlock(Block):
    """A kind of data: its fields say which samples, `load` reads or draws them.

    Attributes:
        integers: whether inputs are token ids (int64) and not numbers to compute with.
        numbers_clients: whether its natural clients are called "0" to `clients - 1`.
    """

    integers: ClassVar[bool] = False
    numbers_clients: ClassVar[bool] = False

    def outline(self) -> tuple[tuple[int, ...], int, float, int] | None:
        """For estimates: (shape, classes, samples of a typical client, clients); None if unknown before loading."""
        return None

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`: by default the file named by the field `path`, if there is one."""
        from experiments.core.data._files import locate

        if (path := getattr(self, "path", None)) is not None:
            locate(path, data_dir)

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Load the data.

        Args:
            seed: the run's seed. No kind shipped here uses it: data are drawn and split by separate seeds, so
                that the run's seeds vary initialisation and schedule only.
            data_dir: the user's data folder, or None.

        Raises:
            MissingError: a file or an optional package is not there.
            SpecError: a file exists but its content is invalid.
        """
        raise NotImplementedError


def make_pool(
    where: str,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    classes: int,
    name: str,
    owner: np.ndarray | None = None,
    names: tuple[str, ...] = (),
    tokens: bool = False,
    *,
    test_from: str = FILES,
    own_tests: bool = False,
) -> Pool:
    """Check arrays and turn them into a pool.

    `where` is the file or folder they came from, for messages; `train` and `test` are pairs of x [N, ...] of any real
    type and y [N] integers, or y [N, 1] targets where `classes` is 1; `owner` [N] holds indices into `names`, or is
    None for data without natural clients. With `tokens` inputs are ids and stay integers (int64); otherwise they become
    float32. For `test_from` and `own_tests` see `Pool`.

    Raises:
        SpecError: empty parts, lengths or shapes that disagree, NaN or infinite numbers, labels out of range, training
            samples all of one label, clients without a unique name.
    """
    import numpy as np
    import torch

    from experiments.core.data._clients import checked_names

    checked = []
    for part, (x, y) in (("training", train), ("test", test)):
        with np.errstate(over="ignore"):  # values beyond float32 become infinite and are rejected
            inputs = np.asarray(x, dtype=np.int64 if tokens else np.float32)
            labels = np.asarray(y, dtype=np.float32) if classes == 1 else np.asarray(y)
        _check_part(where, part, inputs, labels, classes)
        labels = labels if classes == 1 else labels.astype(np.int64)
        checked += [torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(np.ascontiguousarray(labels))]
    if checked[0].shape[1:] != checked[2].shape[1:]:
        shapes = f"{tuple(checked[0].shape[1:])} and {tuple(checked[2].shape[1:])}"
        raise SpecError(f"training and test inputs differ in shape: {shapes}", where, "make both parts the same size")
    owner_index = np.full(len(checked[0]), -1) if owner is None else np.asarray(owner)
    if len(owner_index) != len(checked[0]) or owner_index.min() < -1 or owner_index.max() >= len(names):
        raise SpecError("the owners of the samples do not fit the samples", where, "give one known client a sample")
    owners, named = torch.from_numpy(owner_index.astype(np.int64)), checked_names(names, where)
    if bool(checked[1].min() == checked[1].max()):
        noun = "target" if classes == 1 else "label"
        message = f"all {len(checked[1])} training samples have the {noun} {checked[1].reshape(-1)[0].item():g}"
        raise SpecError(message, where, "there is nothing to tell apart: give samples of at least two labels")
    return Pool(
        checked[0], checked[1], owners, checked[2], checked[3], named, classes, name, None, test_from, own_tests
    )


def _check_part(where: str, part: str, x: np.ndarray, y: np.ndarray, classes: int) -> None:
    """Raise SpecError unless x and y are valid samples."""
    import numpy as np

    if not len(x):
        raise SpecError(f"no {part} samples", where, "give at least one")
    if x.ndim < 2 or y.shape != ((len(x), 1) if classes == 1 else (len(x),)):
        raise SpecError(f"{len(x)} {part} inputs but labels of shape {y.shape}", where, "give one label per sample")
    if classes > 1 and not np.issubdtype(y.dtype, np.integer):
        raise SpecError(f"{part} labels are {y.dtype}, not integers", where, "give labels 0, 1, 2, ...")
    finite = np.isfinite(x.reshape(len(x), -1)).all(1) & np.isfinite(y.reshape(len(y), -1)).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise SpecError(f"{part} sample {row} holds NaN or infinity", where, "remove or correct that sample")
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if classes > 1 and len(wrong):
        raise SpecError(
            f"{part} sample {int(wrong[0])} has label {int(y[wrong[0]])}, outside 0..{classes - 1}",
            where,
            "correct the label, or raise the number of classes",
        )
