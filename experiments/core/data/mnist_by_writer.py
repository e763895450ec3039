"""MNIST's digits by the NIST writers who wrote them: a stand-in for FEMNIST with real writers, digits only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool


class MnistByWriter(DataBlock):
    """150 writers of MNIST digits in LEAF JSON (`<data folder>/mnist_by_writer`); LEAF's polarity, white paper = 1."""

    kind: Literal["mnist_by_writer"] = "mnist_by_writer"
    writers: int | None = Field(None, ge=1, description="take so many writers at random; default: all 150")
    min_samples: int = Field(2, ge=1, description="leave out writers with fewer samples")
    split_seed: int = Field(0, ge=0, description="seed of the choice of writers")
    outputs: int = Field(62, ge=10, description="number of model outputs; 62 keeps FEMNIST's models")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (1, 28, 28), self.outputs, 102.0, self.writers or 150

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the files; see `DataBlock.load`."""
        from experiments.core.data._leaf import leaf_pool

        folder = _locate_source(data_dir)
        options = {"writers": self.writers, "min_samples": self.min_samples, "split_seed": self.split_seed}
        return leaf_pool(folder, "mnist_by_writer", self.outputs, **options)  # type: ignore[arg-type]

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        _locate_source(data_dir)


def _locate_source(data_dir: Path | None) -> Path:
    """The folder of LEAF files.

    Raises:
        MissingDataError: it is not there.
    """
    from experiments.core.data._files import STAND_IN, absent
    from experiments.core.data._leaf import has_leaf

    folder = None if data_dir is None else data_dir / "mnist_by_writer"
    if folder is None or not has_leaf(folder):
        where = f"looked in {folder}" if folder else "no data folder is given (--data-dir or FEDLAB_DATA_DIR)"
        raise absent("MNIST by writer is not there", where, "mnist_by_writer", data_dir, STAND_IN)
    return folder
