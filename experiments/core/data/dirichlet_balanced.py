"""The partition of TraceFL (Gill et al. 2025): balanced Dirichlet shares, then small labels and clients are dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from experiments.core.data._split import rows_by_owner
from experiments.core.data.partition import Partition, deal, dealt, labels_of, partition_stream
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError
from experiments.core.names import numbered

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.engine.federation import Federation


class DirichletBalanced(Partition):
    """Dirichlet shares of each label among the clients that are not yet too large, then a cleaning of each client.

    The cleaning (TraceFL's published code): labels of which a client has fewer than `min_label` samples are dropped, a
    client keeps at most `max_size` samples drawn at random, one sample is dropped where the last batch would hold a
    single one (BatchNorm cannot train on one value a channel), and clients below `min_size` are dropped. The
    remaining clients are renumbered.
    """

    kind: Literal["dirichlet_balanced"] = "dirichlet_balanced"
    clients: int = Field(10, ge=1, description="number of clients before small ones are dropped")
    alpha: float = Field(
        0.3,
        gt=0,
        allow_inf_nan=False,
        description="concentration: large is nearly iid, small gives a label to few clients",
    )
    min_label: int = Field(10, ge=1, description="a client's labels with fewer samples are dropped")
    max_size: int = Field(2048, ge=1, description="samples a client keeps at most")
    min_size: int = Field(32, ge=1, description="clients with fewer samples are dropped")
    batch_size: int = Field(32, ge=1, description="no client's last batch of so many samples holds a single one")
    split_seed: int | None = Field(42, ge=0, description="seed of the draw; null: the run's seed")

    @model_validator(mode="after")
    def _agree(self) -> DirichletBalanced:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size: {self.min_size} is more than max_size, {self.max_size}: nobody would stay")
        return self

    def split(self, pool: Pool, seed: int) -> Federation:
        """Deal and clean; see `Partition.split`.

        Raises:
            SpecError: every client was dropped.
        """
        rng = partition_stream(self, seed)
        y = labels_of(pool)
        owner = balanced_owners(y, self.clients, self.alpha, rng)
        for client, rows in enumerate(rows_by_owner(owner, self.clients)):
            cleaned = self._cleaned(rows, y, rng)
            owner[rows] = -1
            owner[cleaned] = client
        if not (owner >= 0).any():
            raise SpecError(
                f"none of {self.clients} clients has {self.min_size} samples "
                f"of labels with {self.min_label} or more, out of {len(y)} samples of {pool.name}",
                "partition: dirichlet_balanced",
                "lower partition.clients, partition.min_size or partition.min_label, or keep more data",
            )
        federation = deal(pool, owner, numbered(self.clients))
        return replace(federation, clients=numbered(len(federation.sizes)))

    def _cleaned(self, rows: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The rows of one client that are kept."""
        import numpy as np

        # Shuffled first, so that max_size drops a random part and not the last labels.
        rows = rng.permutation(rows)
        labels, counts = np.unique(y[rows], return_counts=True)
        rows = rows[np.isin(y[rows], labels[counts >= self.min_label])][: self.max_size]
        # With a batch size of one, dropping a sample would change nothing.
        if self.batch_size > 1 and len(rows) % self.batch_size == 1:
            rows = rows[:-1]
        return rows if len(rows) >= self.min_size else rows[:0]


def balanced_owners(y: np.ndarray, clients: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """The client of each sample [N]: label by label, by Dirichlet shares among the clients that are not yet full.

    Labels come in ascending order. A client that holds more than the mean size N / clients gets no more, and the shares
    of the others are scaled up to one (the rule of Flower's DirichletPartitioner with self-balancing, which goes back
    to Yurochkin et al. 2019); labels that come late are therefore spread less evenly than alpha says. Shares so small
    that they are all zero in floating point are taken as equal.
    """
    import numpy as np

    owner, sizes = np.empty(len(y), np.int64), np.zeros(clients, np.int64)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        open_to = sizes <= len(y) / clients
        share = rng.dirichlet(np.full(clients, alpha)) * open_to
        upto = np.cumsum(share if share.any() else open_to)
        # Divided by the same sum, so that rounding leaves no sample for a last client that is full.
        cuts = (upto[:-1] / upto[-1] * len(rows)).astype(np.int64)
        owner[rows] = dealt(cuts, len(rows))
        sizes += np.diff(cuts, prepend=0, append=len(rows))
    return owner
