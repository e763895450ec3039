"""scikit-learn's handwritten digits, enlarged: a stand-in that needs no file and no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.names import numbered

if TYPE_CHECKING:
    import numpy as np


class SklearnDigits(DataBlock):
    """1,797 digits of 8x8 pixels (Alpaydin and Kaynak 1998), enlarged to 1x28x28 in LEAF's polarity (white paper = 1).

    Each digit is drawn 20x20 in the middle of the paper; further copies are moved by up to three pixels. The split into
    training and test is made before the copies, so no digit is in both. The writers are unknown: natural clients are
    made here by a Dirichlet distribution over labels. A stand-in: do not report it as another data set.
    """

    numbers_clients: ClassVar[bool] = True
    kind: Literal["sklearn_digits"] = "sklearn_digits"
    clients: int = Field(100, ge=1, le=200, description="natural clients to make")
    alpha: float = Field(0.5, gt=0, description="concentration of their label mix; small is more unequal")
    copies: int = Field(2, ge=1, le=10, description="copies of each digit; all but the first are moved a little")
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share of the digits that train")
    data_seed: int = Field(0, ge=0, description="seed of split, moves and clients; not the run's seed")
    outputs: int = Field(62, ge=10, description="number of model outputs; 62 keeps FEMNIST's models")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (1, 28, 28), self.outputs, round(1797 * self.train_fraction) * self.copies / self.clients, self.clients

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Make the data; see `DataBlock.load`."""
        import numpy as np
        from sklearn.datasets import load_digits

        from experiments.core.data._split import split_rows
        from experiments.core.data.partition import dirichlet_owners
        from experiments.core.data.pool import make_pool
        from experiments.core.engine.seeds import stream

        raw = load_digits()
        y = raw.target.astype(np.int64)
        rows = split_rows(len(y), self.train_fraction, stream(self.data_seed, "digits", part="split"))
        train, test = (
            self._copied(enlarge(raw.images[part]), y[part], name) for part, name in zip(rows, "ab", strict=True)
        )
        rng = stream(self.data_seed, "digits", part="clients")
        owner = dirichlet_owners(train[1], self.clients, self.alpha, 4, rng, "sklearn_digits")
        share = f"{100 * (1 - self.train_fraction):g} % of the digits, drawn with data_seed {self.data_seed}"
        parts = ("sklearn_digits", train, test, self.outputs, "sklearn_digits")
        return make_pool(*parts, owner, numbered(self.clients), test_from=f"{share}, and their moved copies")

    def _copied(self, x: np.ndarray, y: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The digits and their moved copies: x [n, 1, 28, 28] -> [copies * n, 1, 28, 28]."""
        import numpy as np

        from experiments.core.engine.seeds import stream

        parts = [x]
        for copy in range(1, self.copies):
            moves = stream(self.data_seed, "digits", part="moves" + part, copy=copy).integers(-3, 4, (len(x), 2))
            # The margin is four pixels wide, so rolling brings in nothing but paper.
            parts.append(np.stack([np.roll(image, move, (1, 2)) for image, move in zip(x, moves, strict=True)]))
        return np.concatenate(parts), np.tile(y, self.copies)


def enlarge(images: np.ndarray) -> np.ndarray:
    """[n, 8, 8] ink in 0..16 -> [n, 1, 28, 28] with white paper = 1: bilinear to 20x20, a margin of four pixels."""
    import numpy as np
    import torch
    from torch.nn.functional import interpolate, pad

    ink = torch.from_numpy(images).float().div(16).unsqueeze(1)
    large = pad(interpolate(ink, size=(20, 20), mode="bilinear", align_corners=False), (4, 4, 4, 4))
    return np.asarray(1 - large.numpy())
