"""A recorded round of anybody's federated run as the estimators take it: model, global state, states of the clients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.models import build as build_model
from experiments.core.models.state import missing
from experiments.core.recorded.files import RoundFiles, find_round
from experiments.core.recorded.run_file import INPUTS_FILE, RUN_FILE, Described, read_run_file
from experiments.core.recorded.states import RoundStates, dtype_of, read_named
from experiments.core.spec.reader import shown


@dataclass(frozen=True)
class OwnRound:
    """One recorded round; its models are read when asked for.

    Attributes:
        files: where they lie. described: the run's `run.yaml`. data_dir: where files that the model names may lie, too.
    """

    files: RoundFiles
    described: Described
    data_dir: Path | None = None

    @property
    def inputs_file(self) -> Path:
        """Where `fedlab train --record` leaves inputs to trace.

        Raises:
            SpecError: nothing is there.
        """
        path = self.files.home / INPUTS_FILE
        if not path.is_file():
            raise SpecError("no inputs are given", shown(self.files.home), "give --inputs FILE")
        return path

    @property
    def names(self) -> tuple[str, ...]:
        """The clients' names by run.yaml, else their ids."""
        return tuple(self.described.spec.clients.get(k, k) for k in self.files.clients)

    @cached_property
    def sizes(self) -> tuple[int, ...] | None:
        """n_k by round.json, else by run.yaml, else None.

        Raises:
            SpecError: run.yaml leaves out a participant.
        """
        sizes = self.described.spec.sizes
        if self.files.sizes is not None or not sizes:
            return self.files.sizes
        lost = [k for k in self.files.clients if k not in sizes]
        if lost:
            raise SpecError(f"sizes: no number of samples for client {lost[0]}", self._run_file, "add it")
        return tuple(sizes[k] for k in self.files.clients)

    @property
    def shares(self) -> Tensor:
        """[K] float64 aggregation weights p_k = n_k / n; equal where the sizes are not known."""
        counts = torch.tensor(self.sizes or [1] * len(self.files.clients), dtype=torch.float64)
        return counts / counts.sum()

    def build(self, shape: tuple[int, ...], device: torch.device) -> Net:
        """The model for inputs of `shape`, in evaluation mode and the arithmetic of the recorded global model.

        Weights that run.yaml names are loaded only where the global state leaves something out.

        Raises:
            MissingError: a file that the model names is not there. SpecError: no such model, or not for these inputs.
        """
        block = self.described.spec.model
        named = getattr(block, "weights", None) is not None
        module = self._built(block.model_copy(update={"weights": None}) if named else block, shape)
        held, _ = read_named(module, self.files.whole)
        if named and missing(module, held):
            module = self._built(block, shape)
        return Net.of(module.to(device, dtype_of(module, held)).eval(), thawed=True)

    def states(self, net: Net) -> RoundStates:
        """The states of the round for the model that `build` made.

        Raises:
            MissingError, SpecError: see `RoundStates`.
        """
        return RoundStates(net, self.files, self.shares, self.described.model_from)

    def _built(self, block: Any, shape: tuple[int, ...]) -> nn.Module:
        """The module of a block of the spec.

        Raises:
            MissingError, SpecError: see `build`.
        """
        classes = self.described.spec.classes
        try:
            return build_model(block, shape, classes, self.data_dir)
        except (RuntimeError, MemoryError) as fault:  # of torch: no memory for so many classes, sizes that clash
            first = (str(fault).splitlines() or ["no memory"])[0]
            raise SpecError(
                f"the model cannot be built for inputs of shape {list(shape)} and {classes} classes: {first}",
                self.described.model_from,
                "correct `model` and `classes`",
            ) from fault

    @property
    def _run_file(self) -> str:
        return shown(self.files.home / RUN_FILE)


def open_round(run: Path, index: int | None = None, model: str | None = None, data_dir: Path | None = None) -> OwnRound:
    """The recorded round `index` of the folder `run` (see `find_round`), the last one by default.

    `model`, a torchvision name or "package.module:callable", goes before the model of run.yaml. A checkpoint that
    run.yaml names is looked for in `data_dir`, too.

    Raises:
        MissingError: there is no such folder.
        SpecError: no such round, files missing, one client only, pickles, no model named, a faulty run.yaml.
    """
    files = find_round(run, index)
    return OwnRound(files, read_run_file(files.home, model), data_dir)
