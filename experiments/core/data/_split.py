"""Splitting samples into training and test parts by LEAF's rule, and subsampling large sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np


class KeptData(DataBlock):
    """Data that can be subsampled at random; order is kept, and a smaller subsample is part of a larger one."""

    keep_train: int | None = Field(None, ge=1, description="training samples to keep, at random; default: all")
    keep_test: int | None = Field(None, ge=1, description="test samples to keep, at random; default: all")
    keep_seed: int = Field(0, ge=0, description="seed of that choice; not the run's seed")

    def kept_rows(self, n: int, part: Literal["train", "test"]) -> np.ndarray | slice:
        """Ascending row numbers of the samples kept out of n; a full slice where none is left out.

        Raises:
            SpecError: more are to be kept than there are.
        """
        import numpy as np

        from experiments.core.engine.seeds import stream

        count = self.keep_train if part == "train" else self.keep_test
        if count is None:
            return slice(None)
        if count > n:
            raise SpecError(f"there are {n} {part} samples, not {count}", f"data.keep_{part}", f"keep at most {n}")
        return np.sort(stream(self.keep_seed, "keep", part=part).permutation(n)[:count])


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
