"""Models: one file per family, each a block of the spec that builds a plain torch module."""

from __future__ import annotations


def kinds() -> dict[str, type]:
    """Every kind of model, by the word a spec uses for it. Imports no torch."""
    import experiments.core.models as package
    from experiments.core.block import Block
    from experiments.core.discover import subclasses

    return subclasses(package, Block)
