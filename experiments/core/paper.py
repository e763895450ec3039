"""What the rest of the program needs to know about a paper; each paper's folder defines one of these."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paper:
    """A paper, or the federated run itself. The import paths are resolved late, so that `--help` loads no torch.

    Attributes:
        name: the word of the paper everywhere: command, folder, configs, results.
        title: the paper's title. citation: author-year; "" for what reproduces no paper.
        question: what the command answers, one sentence.
        version: raised when the code changes what its numbers mean; part of every cell's id.
        main: the setting run when none is named.
        spec: "module:Class" of the pydantic spec.
        cells: "module:function", (spec) -> list[Cell].
        report: "module:function", (metrics DataFrame, folders) -> list[Artefact]: tables and figures.
            folders: the finished cells' folders, sorted, for what a cell stores beside its rows (images).
        progress: "module:object", a `core.report.progress.Progress`: what an unfinished cell reports; "" counts rows.
    """

    name: str
    title: str
    citation: str
    version: int
    main: str
    spec: str
    cells: str
    report: str
    question: str = ""
    progress: str = ""

    def resolve(self, field: str) -> Any:
        """Import the object that `field` ("spec", "cells", "report" or "progress") names."""
        module, _, attribute = getattr(self, field).partition(":")
        return getattr(importlib.import_module(module), attribute)


def papers() -> dict[str, Paper]:
    """Every word that owns specs, found under `experiments/`: the papers, and `train`."""
    import experiments
    from experiments.core.discover import modules

    members = (getattr(module, "PAPER", None) for module in modules(experiments))
    return {paper.name: paper for paper in members if paper is not None}


def printed() -> dict[str, Paper]:
    """Those that reproduce a printed paper, by name: what `reproduce`, `report` and `compare` are about."""
    return {name: paper for name, paper in papers().items() if paper.citation}
