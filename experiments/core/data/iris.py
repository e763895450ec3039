"""Fisher's iris flowers, which come with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool


class Iris(DataBlock):
    """150 iris flowers, 4 measures, 3 species (Fisher 1936); needs no file.

    Each species gives the same number of training samples (give or take one), the rest is the test set. Each measure is
    shifted and scaled by mean and deviation of the training samples. The flowers keep their order.
    """

    kind: Literal["iris"] = "iris"
    train: int = Field(120, ge=3, le=147, description="training samples; the other flowers are the test set")
    split_seed: int = Field(0, ge=0, description="seed of the split; not the run's seed")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (4,), 3, float(self.train), 1

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Split and standardise; see `DataBlock.load`."""
        import numpy as np
        from sklearn.datasets import load_iris

        from experiments.core.data.pool import make_pool
        from experiments.core.engine.seeds import stream

        x, y = load_iris(return_X_y=True)
        trains = np.zeros(len(y), bool)
        for species in range(3):
            count = self.train // 3 + (species < self.train % 3)
            order = stream(self.split_seed, "split", species=species).permutation(np.flatnonzero(y == species))
            trains[order[:count]] = True
        x = (x - x[trains].mean(0)) / x[trains].std(0)
        test_from = f"the flowers that do not train, drawn species by species with split_seed {self.split_seed}"
        return make_pool("iris", (x[trains], y[trains]), (x[~trains], y[~trains]), 3, "iris", test_from=test_from)
