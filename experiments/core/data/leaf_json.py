"""Data of one's own (or LEAF's) in LEAF's JSON layout; its users are the natural clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool


class LeafJson(DataBlock):
    """A folder of LEAF files: `train/` and `test/`, or `all_data_*.json[.gz]` to split here; values are untouched."""

    kind: Literal["leaf_json"] = "leaf_json"
    path: str = Field(description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: the largest label plus one")
    image_shape: Annotated[tuple[int, ...] | None, Field(strict=False)] = Field(
        None, description="channels, height, width; default: 1x28x28 for 784 numbers, else a plain vector"
    )
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where the files are not split yet")
    split_seed: int = Field(0, ge=0, description="seed of that split and of the choice of writers")
    writers: int | None = Field(None, ge=1, description="take so many users at random; default: all")
    min_samples: int = Field(2, ge=1, description="leave out users with fewer samples (training and test together)")

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the files; see `DataBlock.load`."""
        from experiments.core.data._files import locate
        from experiments.core.data._leaf import leaf_pool

        folder = locate(self.path, data_dir)
        return leaf_pool(
            folder, self.name or folder.resolve().name, self.outputs, self.image_shape, self.train_fraction,
            self.split_seed, self.writers, self.min_samples,
        )  # fmt: skip
