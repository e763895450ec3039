"""The fields of a spec. Every default is defined here (or in the block of a data set, split or model), nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from experiments.core.algorithms import kinds as algorithm_kinds
from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.block import Block
from experiments.core.data import kinds as data_kinds
from experiments.core.data import partitions
from experiments.core.errors import SpecError
from experiments.core.models import kinds as model_kinds
from experiments.core.names import is_number, numbered, positions
from experiments.core.spec.grid import MOST_CELLS
from experiments.core.spec.role import Role

if TYPE_CHECKING:
    from torch import nn

Init = Literal["glorot_uniform", "default", "koh_liang", "keep"]
"""The source of initial weights: three initialisation schemes (`engine.net.initialise`), or the model's own weights."""


def _name(name: Any) -> Any:
    """A name; whole numbers are converted to text."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _plain(name: str) -> str | int:
    return int(name) if is_number(name) else name


ClientName = Annotated[
    str,
    BeforeValidator(_name),
    StringConstraints(strip_whitespace=True, min_length=1),
    PlainSerializer(_plain, when_used="json"),
]
"""A client by name, or by position as "#3". A number is also a name: 2 is the client called "2"."""

_LISTED = 10**6  # up to so many client names are checked with the spec; larger sets when the data are read


class CustomModel(Block):
    """The user's own model. Accepted from `--model` only: reading a file runs no code."""

    kind: Literal["custom"] = "custom"
    factory: str = Field(
        description="package.module:name of a module, or of a callable that makes one (see load_factory)"
    )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module for inputs of `shape` and `classes` outputs.

        Raises:
            SpecError: when the factory cannot be imported or returns no module.
        """
        from experiments.core.models.custom import load_factory

        return load_factory(self.factory)(shape, classes)


def union(blocks: Iterable[type[Block]]) -> Any:
    """A union of blocks distinguished by `kind`."""
    members = tuple(blocks)
    return Annotated[Union[members], Field(discriminator="kind")] if len(members) > 1 else members[0]  # noqa: UP007


if TYPE_CHECKING:
    DataSpec = Any
    PartitionSpec = Any
    ModelSpec = Any
    AlgorithmSpec = Any
else:
    DataSpec = union(data_kinds().values())
    PartitionSpec = union(partitions().values())
    ModelSpec = union([*model_kinds().values(), CustomModel])
    AlgorithmSpec = union(algorithm_kinds().values())


class LocalSpec(Block):
    """How a client trains: full-batch for `steps`, or in mini-batches for `epochs`."""

    lr: float = Field(gt=0, description="eta, the learning rate of round 1")
    steps: int | None = Field(None, ge=1, description="m, full-batch gradient steps; excludes epochs")
    epochs: int | None = Field(None, ge=1, description="passes over the client's data in mini-batches")
    batch_size: int | None = Field(None, ge=1, description="samples of a mini-batch; goes with epochs")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="as in torch.optim, reset in every round")
    momentum: float = Field(0.0, ge=0, lt=1, description="as in torch.optim.SGD, reset to zero in every round")
    nesterov: bool = Field(False, description="Nesterov's momentum")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty, added to the gradient (adamw: beside it)")
    lr_schedule: Literal["constant", "step", "exponential", "cosine"] = Field(
        "constant",
        description="over rounds: step (times gamma every `every` rounds), exponential (times gamma), cosine (to zero)",
    )
    gamma: float = Field(1.0, gt=0, le=1, description="factor of the step and exponential schedules")
    every: int = Field(1, ge=1, description="rounds of one step, or of the cosine's half period")

    @model_validator(mode="after")
    def _agree(self) -> LocalSpec:
        faults = []
        if (self.steps is None) == (self.epochs is None):
            faults.append("steps: give either steps (full batch) or epochs (mini-batches)")
        if (self.epochs is None) != (self.batch_size is None):
            faults.append("batch_size: goes together with epochs")
        if self.optimizer != "sgd" and (self.momentum or self.nesterov):
            faults.append(f"optimizer: momentum and nesterov go with sgd, not with {self.optimizer}")
        elif self.nesterov and not self.momentum:
            faults.append("nesterov: needs a momentum above 0")
        if self.lr_schedule in ("step", "exponential") and self.gamma == 1.0:
            faults.append(f"gamma: the {self.lr_schedule} schedule needs a gamma below 1")
        if self.lr_schedule in ("step", "cosine") and self.every == 1:
            faults.append(f"every: the {self.lr_schedule} schedule needs the number of rounds")
        return raised(self, faults)


class AveragePrivacy(Block):
    """DP-FedAvg on the server (McMahan et al. 2018): clipped updates, Gaussian noise on their average."""

    kind: Literal["average"] = "average"
    clip: float = Field(gt=0, description="largest norm of a client's update")
    noise: float = Field(ge=0, description="noise multiplier: deviation noise * clip / participants")
    delta: float = Field(1e-5, gt=0, lt=1, description="delta of the reported epsilon")


class SgdPrivacy(Block):
    """DP-SGD by each client (Abadi et al. 2016): clipped gradients of samples, Gaussian noise on their sum.

    Batches are drawn by Poisson sampling; the sum is divided by the expected batch, local.batch_size, exactly.
    """

    kind: Literal["sgd"] = "sgd"
    clip: float = Field(1.0, gt=0, description="largest norm of a sample's gradient")
    noise: float | None = Field(
        None, ge=0, description="noise multiplier: deviation noise * clip; null: the smallest that keeps to epsilon"
    )
    epsilon: float = Field(8.0, gt=0, description="what every client spends at most, where noise is null")
    delta: float = Field(1e-5, gt=0, lt=1, description="delta of epsilon")
    accountant: Literal["prv", "rdp"] = Field("prv", description="opacus': Gopi et al. 2021, or Mironov 2017")
    fix_norm: bool = Field(False, description="replace BatchNorm, which mixes samples, by GroupNorm")


def _average(value: Any) -> Any:
    """A block of privacy without its kind is the older of the two."""
    return {"kind": "average", **value} if isinstance(value, dict) else value


if TYPE_CHECKING:
    PrivacySpec = Any
else:
    PrivacySpec = Annotated[union([AveragePrivacy, SgdPrivacy]), BeforeValidator(_average)]


class AugmentSpec(Block):
    """What is done to the images of each training batch, in this order; see `engine.augment.Augment`."""

    crop: int = Field(0, ge=0, description="black pixels put on each side, before a random window is cut out; 0: none")
    flip: bool = Field(False, description="mirror every second image, at random")
    cutout: int = Field(0, ge=0, multiple_of=2, description="side of a square hole at a random place; 0: none")

    @model_validator(mode="after")
    def _does(self) -> AugmentSpec:
        none = not (self.crop or self.flip or self.cutout)
        return raised(self, ["crop: give crop, flip or cutout, or leave augment out"] if none else [])


class SettingSpec(Block):
    """What every setting of every paper has."""

    paper: Annotated[str, Role.IDENTITY] = Field(
        description="the paper this belongs to (or train); taken from the folder"
    )
    name: Annotated[str, Role.IDENTITY] = Field(description="the setting's name; taken from the file")
    title: Annotated[str, Role.WORDS] = Field("", description="what it is, in a line")
    reproduces: Annotated[str, Role.WORDS] = Field("", description="which tables and figures it reproduces")
    cost: Annotated[str, Role.WORDS] = Field("", description="what a run costs at this scale, in words")
    scale: Annotated[Literal["smoke", "small", "paper"], Role.IDENTITY] = Field(description="set by --scale")
    seeds: Annotated[tuple[int, ...], Role.REPEATS] = Field(
        (0,), min_length=1, max_length=MOST_CELLS, description="one run per seed: initial weights and schedule"
    )

    @model_validator(mode="after")
    def _seeds(self) -> SettingSpec:
        faults = ["seeds: a seed is named twice"] if len(set(self.seeds)) < len(self.seeds) else []
        return raised(self, faults + ["seeds: a seed is negative"] * any(s < 0 for s in self.seeds))


class RunSpec(SettingSpec):
    """Everything a federated run needs; papers extend it."""

    data: DataSpec = Field(description="the data set")
    partition: PartitionSpec = Field(description="how samples become clients")
    model: ModelSpec = Field(description="the model")
    init: Init = Field(
        "glorot_uniform", description="how weights are drawn; keep: as the module came, which --model sets"
    )
    algorithm: AlgorithmSpec = Field(FedAvg(), description="the federated algorithm")
    local: LocalSpec = Field(description="local training")
    augment: AugmentSpec | None = Field(None, description="random changes of training images; null: none")
    privacy: PrivacySpec | None = Field(
        None, description="differential privacy: of the average (average), or of each local step (sgd); null: none"
    )
    rounds: int = Field(ge=1, description="T, number of rounds")
    clients_per_round: int = Field(ge=1, description="participants of each round")
    loss: Literal["cross_entropy", "squared"] = Field("cross_entropy", description="loss of a sample")
    dtype: Literal["float32", "float64"] = Field("float32", description="arithmetic")
    formulation: Annotated[str, Role.ROUNDING] = Field(
        "auto", description="how local steps are computed; auto = timed calibration"
    )
    evaluate_every: int = Field(10, ge=1, description="rounds between evaluations; the last round always counts")
    checkpoint_seconds: Annotated[float, Role.PACE] = Field(60.0, gt=0, description="seconds between checkpoints")

    @property
    def known_clients(self) -> int | None:
        """K where the spec alone determines it, else None."""
        for block in (self.partition, self.data):
            for key in ("clients", "writers"):
                if getattr(block, key, None) is not None:
                    return int(getattr(block, key))
        return None

    def faults_of_names(self, key: str, names: Iterable[str]) -> list[str]:
        """The faults of the client names in the field `key`, where the spec alone determines the valid names.

        Names from the data are checked after reading them (`Federation.positions`).
        """
        count = getattr(self.partition, "clients", None)
        if count is None and self.partition.kind == "natural" and self.data.numbers_clients:
            count = self.data.clients
        named = list(names)
        if not named or count is None or count > _LISTED:
            return []
        try:
            positions(named, numbered(count), "")
        except SpecError as fault:
            return [f"{key}: {fault.what}; {fault.todo}"]
        return []

    @model_validator(mode="after")
    def _agree(self) -> RunSpec:
        faults, known = [], self.known_clients
        if known is not None and self.clients_per_round > known:
            faults.append(f"clients_per_round: {self.clients_per_round} a round, but there are {known} clients")
        if self.evaluate_every > self.rounds:
            faults.append(f"evaluate_every: {self.evaluate_every} is more than the {self.rounds} rounds")
        faults += self.algorithm.unfit(self.local)
        if self.privacy is not None and not self.algorithm.protected_by(self.privacy.kind):
            faults.append(f"privacy: clipping and noise do not protect all that {self.algorithm.kind} sends or keeps")
        return raised(self, faults)


def raised(spec: Any, faults: list[str]) -> Any:
    """`spec`, unless there are faults.

    Raises:
        ValueError: the faults, one line each, "key: message".
    """
    if faults:
        raise ValueError("\n".join(faults))
    return spec
