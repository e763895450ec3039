"""Federated algorithms: one file each; the block of the spec is the algorithm (see `engine.algorithm`)."""

from __future__ import annotations

from experiments.core.engine.algorithm import Algorithm


def kinds() -> dict[str, type[Algorithm]]:
    """Every algorithm, by the word a spec uses for it. Imports no torch."""
    import experiments.core.algorithms as package
    from experiments.core.discover import subclasses

    return subclasses(package, Algorithm)
