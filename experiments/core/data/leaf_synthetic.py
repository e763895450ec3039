"""LEAF's synthetic data: each client is Gaussian around its own centre; labels come from one noisy linear map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.names import numbered

if TYPE_CHECKING:
    import numpy as np

    Samples = tuple[np.ndarray, np.ndarray]


class LeafSynthetic(DataBlock):
    """The generator of LEAF (Caldas et al. 2018, data/synthetic) with one cluster; needs no file.

    Client k holds min(int(lognormal(3, 2)) + min_samples, max_samples) samples x ~ N(v_k, diag(i^-1.2)), i = 1..dims,
    v_k ~ N(B_k, 1) in each dimension, B_k ~ N(0, 1). Labels: y = argmax [1, x] Q m_k + N(0, 0.1), with one
    Q ~ N(0, 1) of shape (dims + 1, classes) for all, m_k ~ N(mu, 0.1), mu ~ N(L, 1), L ~ N(0, 1); the standard
    deviations are as in LEAF's code. The distribution is LEAF's; the draws are not: each client has its own stream.
    """

    numbers_clients: ClassVar[bool] = True
    kind: Literal["leaf_synthetic"] = "leaf_synthetic"
    clients: int = Field(1000, ge=1, description="number of clients")
    classes: int = Field(5, ge=2, description="number of labels")
    dims: int = Field(60, ge=1, description="number of features")
    train_fraction: float = Field(0.6, gt=0, lt=1, description="share of each client's samples that train")
    min_samples: int = Field(5, ge=2, description="smallest client, before the split")
    max_samples: int = Field(1000, ge=2, description="largest client, before the split")
    data_seed: int = Field(931231, ge=0, description="seed of the data and of the split; not the run's seed")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (self.dims,), self.classes, 100 * self.train_fraction, self.clients

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Draw the data; see `DataBlock.load`."""
        import numpy as np

        from experiments.core.data._split import split_by_owner
        from experiments.core.data.pool import make_pool

        sizes = self.sizes()
        owner = np.repeat(np.arange(self.clients), sizes)
        names = numbered(self.clients)
        rows = split_by_owner(owner, names, self.train_fraction, self.data_seed)
        train, test = self._drawn(sizes, owner, rows)
        test_from = (
            f"{100 * (1 - self.train_fraction):g} % of each client's samples, drawn with data_seed {self.data_seed}"
        )
        parts = ("leaf_synthetic", train, test, self.classes, "leaf_synthetic")
        return make_pool(*parts, owner[rows[0]], names, test_from=test_from)

    def _drawn(self, sizes: np.ndarray, owner: np.ndarray, rows: Sequence[np.ndarray]) -> list[Samples]:
        """The samples of each part, x [n, dims] and y [n], given its row numbers among all samples.

        Drawn client by client into preallocated arrays, so that large data are not held twice.
        """
        import numpy as np

        from experiments.core.data._split import rows_by_owner

        parts = [(np.empty((len(part), self.dims), np.float32), np.empty(len(part), np.int64)) for part in rows]
        places = [rows_by_owner(owner[part], self.clients) for part in rows]
        starts = np.cumsum(sizes) - sizes
        shared = self.shared()
        for k, n in enumerate(sizes.tolist()):
            x, y = self.client(k, n, shared)
            for part, positions, (all_x, all_y) in zip(rows, places, parts, strict=True):
                selected = part[positions[k]] - starts[k]
                all_x[positions[k]], all_y[positions[k]] = x[selected], y[selected]
        return parts

    def sizes(self) -> np.ndarray:
        """[clients] number of samples of each client, before the split."""
        import numpy as np

        from experiments.core.engine.seeds import stream

        drawn = stream(self.data_seed, "synthetic", part="sizes").lognormal(3, 2, self.clients).astype(np.int64)
        return np.minimum(drawn + self.min_samples, self.max_samples)

    def client(self, k: int, n: int, shared: tuple[np.ndarray, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Samples of client k: x [n, dims] float32, y [n]; `shared` as `shared()`, drawn once for many clients."""
        import numpy as np

        from experiments.core.engine.seeds import stream

        rng = stream(self.data_seed, "synthetic", part="client", client=k)
        Q, mu = shared or self.shared()
        v = rng.normal(rng.normal(), 1.0, self.dims)
        sigma = np.arange(1, self.dims + 1) ** -0.6  # the square root of i^-1.2
        x = v + sigma * rng.normal(size=(n, self.dims))
        w = Q * rng.normal(mu, 0.1)
        scores = w[0] + x @ w[1:] + rng.normal(0.0, 0.1, (n, self.classes))
        return x.astype(np.float32), scores.argmax(1)

    def shared(self) -> tuple[np.ndarray, float]:
        """The parameters all clients share: Q [dims + 1, classes] and the mean mu of the coefficient."""
        from experiments.core.engine.seeds import stream

        rng = stream(self.data_seed, "synthetic", part="shared")
        Q = rng.normal(size=(self.dims + 1, self.classes))
        return Q, float(rng.normal(rng.normal(), 1.0))
