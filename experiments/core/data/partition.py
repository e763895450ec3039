"""Dealing a pool to clients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError
from experiments.core.names import numbered

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.engine.federation import Federation


class Partition(Block):
    """A way to deal the training samples of a pool to clients; the test set stays pooled."""

    def split(self, pool: Pool, seed: int) -> Federation:
        """Deal `pool` to clients.

        Args:
            pool: the data.
            seed: used where the block has no `split_seed`.

        Raises:
            SpecError: the pool cannot be dealt this way (too few samples, no natural clients).
        """
        raise NotImplementedError


class Natural(Partition):
    """The clients the data come with: writers, user keys, a client column. Their unequal sizes are kept."""

    kind: Literal["natural"] = "natural"

    def split(self, pool: Pool, seed: int) -> Federation:
        """Group the samples by owner, in the order of `pool.names`; see `Partition.split`."""
        owner = pool.owner.numpy()
        if (owner < 0).any():
            raise SpecError(
                f"{pool.name} has no natural clients",
                "partition: natural",
                "use iid, dirichlet or shards, or name a client column",
            )
        return replace(deal(pool, owner, pool.names), own_tests=pool.own_tests)


class Iid(Partition):
    """Balanced clients drawn at random from all training samples, regardless of owner (LEAF's iid sampling)."""

    kind: Literal["iid"] = "iid"
    clients: int = Field(50, ge=1, description="number of clients")
    samples_per_client: int | None = Field(None, ge=1, description="training samples each; default: all, dealt evenly")
    test_samples: int | None = Field(None, ge=1, description="test samples drawn from the test set; default: all")
    split_seed: int | None = Field(None, ge=0, description="seed of the draw; default: the run's seed")

    def split(self, pool: Pool, seed: int) -> Federation:
        """Shuffle and cut; see `Partition.split`."""
        import numpy as np

        rng = partition_stream(self, seed)
        order = rng.permutation(len(pool.y))
        wanted = self.clients * self.samples_per_client if self.samples_per_client else len(order)
        if wanted > len(order) or self.clients > len(order):
            raise SpecError(
                f"{self.clients} clients of {self.samples_per_client or 1} samples need {max(wanted, self.clients)}, "
                f"but {pool.name} has {len(order)} training samples",
                "partition: iid",
                "lower partition.clients or partition.samples_per_client",
            )
        owner = np.full(len(order), -1)
        owner[order[:wanted]] = np.arange(wanted) % self.clients
        return deal(self._fewer_tests(pool, rng), owner, numbered(self.clients))

    def _fewer_tests(self, pool: Pool, rng: np.random.Generator) -> Pool:
        """The pool with `test_samples` of its test samples."""
        if self.test_samples is None:
            return pool
        if self.test_samples > len(pool.test_y):
            raise SpecError(
                f"{self.test_samples} test samples are asked for, but {pool.name} has {len(pool.test_y)}",
                "partition: iid",
                "lower partition.test_samples",
            )
        rows = sorted(rng.choice(len(pool.test_y), self.test_samples, replace=False).tolist())
        test_from = f"{len(rows)} drawn from {pool.test_from}"
        return replace(pool, test_x=pool.test_x[rows], test_y=pool.test_y[rows], test_from=test_from)


class Dirichlet(Partition):
    """Unequal label mixes: each label is shared out by Dirichlet(alpha) (Hsu et al. 2019; Li et al. 2022).

    With `cap`, as FedML's and NIID-Bench's code does (Yurochkin et al. 2019): a client that holds the mean size N/M or
    more gets nothing of the next label, and the others' shares are scaled up to one.
    """

    kind: Literal["dirichlet"] = "dirichlet"
    clients: int = Field(10, ge=1, description="number of clients")
    alpha: float = Field(
        0.5,
        gt=0,
        allow_inf_nan=False,
        description="concentration: large is nearly iid, small gives a label to few clients",
    )
    min_size: int = Field(10, ge=1, description="draw again until every client has so many samples")
    cap: bool = Field(False, description="a client with the mean size or more gets nothing of the next label (FedML)")
    split_seed: int | None = Field(None, ge=0, description="seed of the draw; default: the run's seed")

    def split(self, pool: Pool, seed: int) -> Federation:
        """Draw the shares; see `Partition.split`."""
        rng = partition_stream(self, seed)
        y = labels_of(pool)
        owner = dirichlet_owners(y, self.clients, self.alpha, self.min_size, rng, pool.name, self.cap)
        return deal(pool, owner, numbered(self.clients))


class Shards(Partition):
    """Few labels a client: samples sorted by label, cut into equal shards, dealt at random (McMahan et al. 2017)."""

    kind: Literal["shards"] = "shards"
    clients: int = Field(10, ge=1, description="number of clients")
    shards_per_client: int = Field(2, ge=1, description="shards each")
    split_seed: int | None = Field(None, ge=0, description="seed of the deal; default: the run's seed")

    def split(self, pool: Pool, seed: int) -> Federation:
        """Sort, cut and deal; see `Partition.split`."""
        import numpy as np

        count = self.clients * self.shards_per_client
        if count > len(pool.y):
            raise SpecError(
                f"{count} shards of {len(pool.y)} training samples",
                "partition: shards",
                "lower clients or shards_per_client",
            )
        rng = partition_stream(self, seed)
        shuffled = rng.permutation(len(pool.y))
        ordered = shuffled[np.argsort(labels_of(pool)[shuffled], kind="stable")]
        owner = np.empty(len(pool.y), np.int64)
        for shard, rows in zip(rng.permutation(count), np.array_split(ordered, count), strict=True):
            owner[rows] = shard % self.clients
        return deal(pool, owner, numbered(self.clients))


def labels_of(pool: Pool) -> np.ndarray:
    """The labels [N] that a partition uses.

    Raises:
        SpecError: they are regression targets.
    """
    if pool.y.is_floating_point():
        raise SpecError(
            f"{pool.name} has numbers to predict, and no labels to deal by", "partition", "use natural or iid"
        )
    return pool.y.numpy()


DRAWS = 1000
"""How often the shares are drawn again before a minimum size is given up."""


def dirichlet_owners(
    y: np.ndarray, clients: int, alpha: float, min_size: int, rng: np.random.Generator, where: str, cap: bool = False
) -> np.ndarray:
    """The client of each sample [N], by Dirichlet shares of each label; every sample gets exactly one client.

    For `cap` see `Dirichlet`.

    Raises:
        SpecError: `min_size` cannot be met, or was not met in 1000 draws.
    """
    import numpy as np

    enough = clients * min_size <= len(y)
    for _ in range(DRAWS if enough else 0):
        owner = _shared_out(y, clients, alpha, rng, cap)
        if np.bincount(owner, minlength=clients).min() >= min_size:
            return owner
    why = f"in {DRAWS} draws" if enough else f"(that takes {clients * min_size})"
    raise SpecError(
        f"{len(y)} samples could not be dealt to {clients} clients of at least {min_size} with alpha {alpha:g} {why}",
        where,
        "lower clients or min_size, or raise alpha",
    )


def _shared_out(y: np.ndarray, clients: int, alpha: float, rng: np.random.Generator, cap: bool) -> np.ndarray:
    """One draw of `dirichlet_owners`, whatever the sizes: labels in ascending order."""
    import numpy as np

    owner, sizes = np.empty(len(y), np.int64), np.zeros(clients, np.int64)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        if cap:
            shares = _among(shares, sizes < len(y) / clients)
        cuts = np.cumsum(shares)[:-1] * len(rows)
        owner[rows] = dealt(np.floor(cuts + 0.5).astype(np.int64), len(rows))
        sizes += np.bincount(owner[rows], minlength=clients)
    return owner


def _among(shares: np.ndarray, open_to: np.ndarray) -> np.ndarray:
    """Shares [M] of the clients that are open, scaled up to one; equal where they vanish in floating point."""
    left = shares * open_to
    left = left if left.any() else open_to.astype(float)
    result: np.ndarray = left / left.sum()
    return result


def dealt(cuts: np.ndarray, n: int) -> np.ndarray:
    """The client of each of n samples in a row that is cut at `cuts` (ascending) into a piece for each client: [n]."""
    import numpy as np

    return np.repeat(np.arange(len(cuts) + 1), np.diff(cuts, prepend=0, append=n))


def deal(pool: Pool, owner: np.ndarray, names: tuple[str, ...]) -> Federation:
    """The federation in which client k holds the samples with owner k, in their order; owner -1 leaves a sample out.

    Clients without samples are dropped.
    """
    import numpy as np
    import torch

    from experiments.core.engine.federation import Federation

    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    rows = torch.from_numpy(np.argsort(owner, kind="stable")[(owner < 0).sum() :])
    nonempty = np.flatnonzero(sizes)
    offsets = (0, *np.cumsum(sizes[nonempty]).tolist())
    clients = tuple(names[k] for k in nonempty)
    # Data already ordered by client are not copied: they may fill most of the memory.
    in_order = torch.equal(rows, torch.arange(len(pool.y)))
    x, y = (pool.x, pool.y) if in_order else (pool.x[rows], pool.y[rows])
    return Federation(
        x, y, offsets, pool.test_x, pool.test_y, clients, pool.classes, pool.name, pool.scale, pool.test_from,
        notes=pool.notes,
    )  # fmt: skip


def partition_stream(block: Any, seed: int) -> np.random.Generator:
    """The stream of a partition: its own seed, or else the run's."""
    from experiments.core.engine.seeds import stream

    return stream(seed if block.split_seed is None else block.split_seed, "partition", kind=block.kind)
