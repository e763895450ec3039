"""Splitting samples into training and test parts by LEAF's rule, and subsampling large sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from experiments.core.data.pool import DataBlock
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np


class KeptData(DataBlock):
    """Data that can be subsampled at random; order is kept, and a smaller subsample is part of a larger one."""

    keep_train: int | None = Field(None, ge=1, description="training samples to keep, at random; default: all")
    keep_test: int | None = Field(None, ge=1, description="test samples to keep, at random; default: all")
    keep_seed: int = Field(0, ge=0, description="seed of that choice; not the run's seed")
    keep_balanced: bool = Field(False, description="keep equally many samples of each class (to within one)")

    @model_validator(mode="after")
    def _balances_something(self) -> KeptData:
        if self.keep_balanced and self.keep_train is None and self.keep_test is None:
            raise ValueError("keep_balanced: say how many samples to keep: keep_train or keep_test")
        return self

    def kept_rows(self, labels: np.ndarray, part: Literal["train", "test"]) -> np.ndarray | slice:
        """Ascending row numbers of the samples kept out of those with `labels` [n]; a full slice where all are kept.

        Raises:
            SpecError: more are to be kept than there are, or than a class has.
        """
        import numpy as np

        from experiments.core.engine.seeds import stream

        count, n = self.keep_train if part == "train" else self.keep_test, len(labels)
        if count is None:
            return slice(None)
        if count > n:
            raise SpecError(f"there are {n} {part} samples, not {count}", f"data.keep_{part}", f"keep at most {n}")
        order = stream(self.keep_seed, "keep", part=part).permutation(n)
        if self.keep_balanced:
            order = order[_in_turn(labels[order])]
            _require_balanced(labels, labels[order[:count]], f"data.keep_{part}")
        return np.sort(order[:count])


def _in_turn(labels: np.ndarray) -> np.ndarray:
    """An order of samples with `labels` [n] in which the classes take turns: first of each, second of each, ..."""
    import numpy as np

    by_class = np.argsort(labels, kind="stable")
    sizes = np.unique(labels, return_counts=True)[1]
    turn = np.empty(len(labels), np.int64)
    turn[by_class] = np.concatenate([np.arange(size) for size in sizes])
    return np.lexsort((labels, turn))


def _require_balanced(labels: np.ndarray, kept: np.ndarray, where: str) -> None:
    """Raise SpecError where the smallest class has too few samples for its share of those `kept`."""
    import numpy as np

    names, sizes = np.unique(labels, return_counts=True)
    shares = np.array([(kept == name).sum() for name in names])
    if shares.max() - shares.min() > 1:
        least = int(shares.argmin())
        what = f"{len(kept)} samples, equally many of {len(names)} classes: class {names[least]} has {sizes[least]}"
        todo = f"keep at most {len(names) * sizes.min()}, or leave data.keep_balanced out"
        raise SpecError(what, where, todo)


def train_count(n: int, fraction: float) -> int:
    """Training samples among n: max(1, int(fraction * n)); for n > 1 at least one is left for testing (LEAF)."""
    # 1e-9 because 0.6 * 5 must be 3 whatever the rounding of the product.
    return max(1, min(int(fraction * n + 1e-9), n - 1))


def drawn(fraction: float, whose: str, seed: int) -> str:
    """How a test set of a share 1 - `fraction` was drawn, in words: "20 % of the rows, drawn with ..."."""
    return f"{100 * (1 - fraction):g} % of {whose}, drawn with split_seed {seed}"


def split_rows(n: int, fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and the test part of n samples, each in ascending order."""
    import numpy as np

    order = rng.permutation(n)
    at = train_count(n, fraction)
    return np.sort(order[:at]), np.sort(order[at:])


def rows_by_owner(owner: np.ndarray, owners: int) -> list[np.ndarray]:
    """Row numbers, ascending, of the samples of each of owners 0..owners-1; owner -1 means none.

    One sort serves all owners; a scan of all samples for each owner would dominate the run time.
    """
    import numpy as np

    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner[owner >= 0], minlength=owners)
    return np.split(order[len(owner) - sizes.sum() :], np.cumsum(sizes)[:-1])


def split_by_owner(
    owner: np.ndarray, names: tuple[str, ...], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split each owner's rows separately, by a random stream named after the owner; returns (train, test) row numbers.

    Rows of one owner stay together and in order; an owner with one sample only has it in training.
    """
    import numpy as np

    from experiments.core.engine.seeds import stream

    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name, rows in zip(names, rows_by_owner(owner, len(names)), strict=True):
        train, test = split_rows(len(rows), fraction, stream(seed, "split", client=name))
        parts[0].append(rows[train])
        parts[1].append(rows[test])
    return np.concatenate(parts[0]), np.concatenate(parts[1])
