"""A user's data (or LEAF's) in LEAF's JSON layout; its users are the natural clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from experiments.core.data._own_test import TestClients
from experiments.core.data.pool import Pool


class LeafJson(TestClients):
    """A folder of LEAF files: `train/` and `test/`, or `all_data_*.json[.gz]` to split here; values are untouched.

    In both the test samples are those of the users that train. `test` names a folder of other LEAF files, all samples
    of which are the test set; with `test_clients` it is all samples of those users. The users that train then train on
    all their samples (those in `train/`, where there is one).
    """

    kind: Literal["leaf_json"] = "leaf_json"
    path: str = Field(description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: one for each class")
    image_shape: Annotated[tuple[int, ...] | None, Field(strict=False)] = Field(
        None, description="channels, height, width; default: 1x28x28 for 784 numbers, else a plain vector"
    )
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where the files are not split yet")
    split_seed: int = Field(0, ge=0, description="seed of that split and of the choice of writers")
    writers: int | None = Field(None, ge=1, description="take so many users at random; default: all")
    min_samples: int = Field(2, ge=1, description="leave out users with fewer samples (training and test together)")

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the files; see `DataBlock.load`."""
        from experiments.core.data._files import locate, test_file
        from experiments.core.data._leaf import OwnTest, leaf_pool

        folder = locate(self.path, data_dir)
        other = None if self.test is None else test_file(self.test, data_dir, folder)
        return leaf_pool(
            folder, self.name or folder.resolve().name, self.outputs, self.image_shape, self.train_fraction,
            self.split_seed, self.writers, self.min_samples, OwnTest(other, self.test_clients or ()),
        )  # fmt: skip
