"""Data sets and partitions: one file per kind of data, each a block of the spec that loads a `Pool`."""

from __future__ import annotations


def kinds() -> dict[str, type]:
    """Every kind of data, by the word a spec uses for it. Imports no torch."""
    import experiments.core.data as package
    from experiments.core.data.pool import DataBlock
    from experiments.core.discover import subclasses

    return subclasses(package, DataBlock)


def partitions() -> dict[str, type]:
    """Every way to deal a pool to clients, by the word a spec uses for it. Imports no torch."""
    import experiments.core.data as package
    from experiments.core.data.partition import Partition
    from experiments.core.discover import subclasses

    return subclasses(package, Partition)
