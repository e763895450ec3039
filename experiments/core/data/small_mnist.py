"""The small MNIST of Koh and Liang (2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.errors import SpecError

ASIDE = 5000
"""The first training images, which they set aside for validation."""


class SmallMnist(DataBlock):
    """A tenth of MNIST (Koh and Liang 2017, section 4.2; `load_small_mnist` of their code).

    The first 5,000 training images are set aside, the others shuffled by NumPy's old generator with seed 0, and the
    first `keep` of them train, in that order: the samples are theirs, row by row. The test set is MNIST's.
    """

    kind: Literal["small_mnist"] = "small_mnist"
    path: str = Field("MNIST", description="folder of the IDX files, from the working directory or in the data folder")
    keep: int = Field(5500, ge=1, description="training samples")
    test: int | None = Field(None, ge=1, description="the first so many test images; default: all")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (1, 28, 28), 10, float(self.keep), 1

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        from experiments.core.data._files import locate
        from experiments.core.data.idx import require_parts

        require_parts(locate(self.path, data_dir))

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read MNIST and keep their samples; see `DataBlock.load`."""
        import numpy as np

        from experiments.core.data._files import locate
        from experiments.core.data.idx import pixels, read_parts
        from experiments.core.data.pool import make_pool

        folder = locate(self.path, data_dir)
        (x, y), (test_x, test_y) = read_parts(folder)
        most, tests = max(0, len(y) - ASIDE), self.test or len(test_y)
        if self.keep > most or tests > len(test_y):
            raise SpecError(
                f"{self.keep} training and {tests} test samples of {most} and {len(test_y)}",
                str(folder),
                "lower data.keep or data.test",
            )
        # RandomState, not a named stream: this is the draw of the published code.
        rows = ASIDE + np.random.RandomState(0).permutation(most)[: self.keep]
        where = str(folder)
        train, test = (pixels(x[rows], where), y[rows]), (pixels(test_x[:tests], where), test_y[:tests])
        return make_pool(str(folder), train, test, 10, "small_mnist")
