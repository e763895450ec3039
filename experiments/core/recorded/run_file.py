"""`run.yaml`: what a folder of recorded rounds says of itself, so that its models can be built again.

A recorded round is a folder with `global.safetensors` (the model after the round) and one `client_<id>.safetensors` for
each participant, or .npz files of these names. It lies under `<run>/rounds/<number>/`, or is `<run>` itself. `fedlab
train --record` writes such folders; anybody else's server needs to save no more than these files, and to describe them
in `<run>/run.yaml`:

    model: {kind: torchvision, name: resnet18}   # a kind of `fedlab list --kinds`; or --model on the command line
    classes: 10
    shape: [3, 32, 32]                           # of one input; default: that of the inputs
    mean: [0.49, 0.48, 0.45]                     # subtracted from each channel of uint8 images, once divided by 255,
    deviation: [0.25, 0.24, 0.26]                # then divides them: as in training
    sizes: {0: 600, 1: 480}                      # samples of each client; default: round.json's, else equal shares
    labels: [airplane, automobile]               # names of the classes
    clients: {0: hospital A, 1: hospital B}      # names of the clients
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from experiments.core.block import Block
from experiments.core.errors import SpecError
from experiments.core.spec.fields import ModelSpec, raised
from experiments.core.spec.load import no_foreign_code, validated
from experiments.core.spec.reader import read_file, shown
from experiments.core.spec.tree import merge, planted
from experiments.core.spec.values import Tree

RUN_FILE, INPUTS_FILE, ROUNDS = "run.yaml", "inputs.npz", "rounds"
GLOBAL, CLIENT = "global", "client_{}"
ENDINGS = (".safetensors", ".npz")
"""Names of the models in a recorded round, and what may follow them."""

ROUND_FILE = "round.json"
"""In a recorded round, where there is one: {"round": t, "participants": [ids], "sizes": [samples of each]}."""

MOST_SAMPLES = 10**12
"""Samples that a client may be said to have; beyond, its share of the round is 1 to the computer."""

Samples = Annotated[int, Field(ge=1, le=MOST_SAMPLES)]
Channels = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
Spreads = tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
"""One number for each channel of an image."""


class RecordSpec(Block):
    """The content of `run.yaml`."""

    model: ModelSpec = Field(description="the model: a block of a known kind, never code")
    classes: int = Field(ge=2, description="number of outputs of the model")
    shape: tuple[PositiveInt, ...] | None = Field(None, description="shape of one input; default: that of the inputs")
    mean: Channels = Field((), description="subtracted from each channel of uint8 images, once in 0..1")
    deviation: Spreads = Field((), description="then divides each channel; goes together with mean")
    sizes: dict[str, Samples] = Field({}, description="training samples of each client")
    labels: tuple[str, ...] = Field((), description="names of the classes")
    clients: dict[str, str] = Field({}, description="names of the clients")

    @model_validator(mode="after")
    def _agree(self) -> RecordSpec:
        faults = []
        if self.labels and len(self.labels) != self.classes:
            faults.append(f"labels: {len(self.labels)} names for {self.classes} classes")
        if len(self.mean) != len(self.deviation):
            faults.append("deviation: as many numbers as mean has, one for each channel")
        return raised(self, faults)


@dataclass(frozen=True)
class Described:
    """A validated `run.yaml`, and the file or option that named the model."""

    spec: RecordSpec
    model_from: str


def read_run_file(folder: Path, model: str | None = None) -> Described:
    """Read `folder`/run.yaml; `model` of the command line, a torchvision name or "package.module:callable", wins.

    Raises:
        SpecError: the file is missing or faulty, no model is given, or the file names foreign code.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise SpecError(
            f"no {RUN_FILE} in the folder",
            shown(folder),
            "write `classes: 10` there"
            + (" and `model: {kind: torchvision, name: resnet18}`" if model is None else ""),
        )
    tree = _with_model(read_file(path), model, shown(path))
    return Described(validated(RecordSpec, tree, shown(path)), tree.origin(("model",)))


def _with_model(tree: Tree, model: str | None, name: str) -> Tree:
    """`tree` with the model of the command line, if there is one."""
    if model is not None:
        key, kind = ("factory", "custom") if ":" in model else ("name", "torchvision")
        tree.value.pop("model", None)
        return merge(tree, planted(("model",), {"kind": kind, key: model}, f"--model {model}"))
    if tree.value.get("model") is None:
        raise SpecError(
            "no model is given",
            name,
            "add `model: {kind: ...}`, or give --model NAME or --model package.module:callable",
        )
    no_foreign_code(tree)
    return tree
