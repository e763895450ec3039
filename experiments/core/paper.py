"""What the rest of the program needs to know about a paper; each paper's folder defines one `Paper`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paper:
    """A paper, or the federated run itself. Import paths are resolved lazily, so that `--help` loads no torch.

    Attributes:
        name: the word of the paper everywhere: command, folder, configs, results.
        title: the paper's title. citation: author-year; "" for what reproduces no paper.
        question: the question the command answers, in one sentence.
        version: increased when a code change alters the numbers; part of every cell's id.
        main: the setting to run by default.
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
    """Everything that owns specs, found under `experiments/`: the papers, and `train`."""
    import experiments
    from experiments.core.discover import modules

    members = (getattr(module, "PAPER", None) for module in modules(experiments))
    return {paper.name: paper for paper in members if paper is not None}


def printed() -> dict[str, Paper]:
    """Those that reproduce a printed paper, by name: the subject of `reproduce`, `report` and `compare`."""
    return {name: paper for name, paper in papers().items() if paper.citation}
