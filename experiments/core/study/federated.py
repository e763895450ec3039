"""From a resolved spec to something the engine can run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from experiments.core.block import Block
from experiments.core.engine.augment import Augment
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import available_on, resolve_device
from experiments.core.engine.examine import examine
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, clone, initialise
from experiments.core.engine.packed import packed
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.seeds import seeded
from experiments.core.errors import SpecError
from experiments.core.memory import LOWER, require
from experiments.core.models import build as build_model
from experiments.core.spec.central import CentralSpec
from experiments.core.spec.fields import CustomModel, RunSpec
from experiments.core.study.dpsgd import averaged, fit_for_steps, mechanism_of
from experiments.core.study.formulation import formulation as chosen
from experiments.core.study.price import of_states
from experiments.core.study.privacy import tell_privacy
from experiments.core.sweep.cell import Context


@dataclass(frozen=True)
class Built:
    """A problem with its initial state [size], and the columns that all its rows share."""

    problem: Problem
    start: Tensor
    columns: dict[str, str]


def build(spec: RunSpec, seed: int, context: Context) -> Built:
    """Load the data, deal it to clients, build and initialise the model, draw the schedule.

    Raises:
        MissingError: data, device or accountants missing. SpecError: more clients per round than clients, a model that
            does not fit.
    """
    privacy, device, dtype = averaged(spec.privacy), resolve_device(context.device), getattr(torch, spec.dtype)
    federation: Federation = spec.partition.split(spec.data.load(seed, context.data_dir), seed)
    count = len(federation.sizes)
    if spec.clients_per_round > count:
        raise SpecError(
            f"{spec.clients_per_round} clients a round, but the data has {count} clients",
            "clients_per_round",
            "lower clients_per_round, or split the data over more clients",
        )
    module = initial_module(spec.model, spec.init, seed, tuple(federation.x.shape[1:]), federation.classes, context)
    module = fit_for_steps(module, spec.privacy)
    net = Net.of(module.to(device, dtype), spec.loss)
    tell_data(federation, spec.loss, context)
    if spec.loss == "squared":
        federation = one_hot(federation, dtype)
    federation = federation.to(device, dtype)
    federation = federation if device.type == "cpu" else packed(federation)
    net = examine(net, federation)
    remember_model(net, context)
    schedule = draw_schedule(seed, count, spec.clients_per_round, spec.rounds)
    local = LocalTraining(**spec.local.model_dump())
    context.facts["data"] = fingerprint(federation)
    context.facts["device"] = str(device)
    augment = None if spec.augment is None else Augment.of(federation, **spec.augment.model_dump())
    mechanism = mechanism_of(spec.privacy, net, federation, schedule, local)
    problem = Problem(net, federation, schedule, local, spec.algorithm, seed, privacy, augment, mechanism)
    tell_privacy(spec.privacy, problem, context)
    _statistics_fit(problem, context)
    _classes_held(problem, context)
    columns = {"dataset": federation.name, "partition": spec.partition.kind, "model": spec.model.called}
    return Built(problem, net.flat(), columns)


def initial_module(
    model: Block, init: str, seed: int, shape: tuple[int, ...], classes: int, context: Context
) -> torch.nn.Module:
    """The module of a spec's model with its initial weights, by the scheme `init` of `engine.net.initialise`.

    What its constructor draws is drawn by name too, so that a module that keeps its own weights has the same ones in
    every process and others with every seed. For a module of the user's own it is said whose weights these are.

    Raises:
        See `build_module`.
    """
    with seeded(seed, "init"):
        module = build_module(model, shape, classes, context)
    initialise(module, seed, init)
    context.facts["init"] = init
    if isinstance(model, CustomModel):
        said = {"keep": "its own, as it came (init: keep; --set init=... draws them anew)"}
        context.tell(f"initial weights of {model.factory}: {said.get(init, f'drawn anew (init: {init})')}")
    return module


def build_module(model: Block, shape: tuple[int, ...], classes: int, context: Context) -> torch.nn.Module:
    """The module of a spec's model, not yet initialised; what weights it came with is noted.

    Raises:
        MissingError: a file that the model names is not there. SpecError: the model does not fit the inputs.
    """
    module = build_model(model, shape, classes, context.data_dir)
    loaded = getattr(module, "weights_from", None)
    if loaded is not None:
        context.facts["weights"] = loaded or "none"
    if loaded == "none" and getattr(model, "weights", None) == "auto":
        context.warn("torchvision's cache holds no weights for this model: it starts from drawn ones")
    return module


def remember_model(net: Net, context: Context) -> None:
    """Facts of the model, and what its user should know of how it behaves."""
    context.facts["parameters"] = net.p
    frozen = sum(net.module.get_parameter(name).numel() for name in net.frozen)
    if frozen:
        context.facts["frozen"] = frozen
    if net.restless:
        context.warn(
            "the model draws random numbers in evaluation mode, too: every state is evaluated with the same draws, so "
            "losses and accuracies are those of one draw (F.dropout needs training=self.training)"
        )


def formulation(spec: RunSpec, problem: Problem, worlds: int, context: Context, more: int = 0) -> Formulation:
    """The way to compute local steps: the one this cell used before it was interrupted, else by calibration (law 5).

    Raises:
        MissingError: the states of `worlds` worlds and `more` bytes do not fit into memory.
    """
    states = of_states(spec, problem.net.size, worlds, problem.setup)
    require_room(states + more, problem.federation.x.device)
    clip = problem.mechanism.clip if problem.mechanism else None
    return chosen(spec, problem.net, problem.federation, worlds, context, problem.algorithm.splits, clip)


def require_room(need: int, device: torch.device, todo: str = LOWER) -> None:
    """Refuse, before anything is trained, what does not fit beside the data that are loaded.

    Raises:
        MissingError: it needs more bytes than `device` has left.
    """
    require(need, str(device), free=available_on(device), todo=todo)


def checkpoint(spec: RunSpec | CentralSpec, context: Context, name: str) -> Checkpoint:
    """A checkpoint file of this cell's work folder; not taken up once the user's data have changed."""
    path = context.folder / f"{name}.ckpt"
    mark = f"{name} {context.facts['data']}"
    return Checkpoint(path, mark, spec.checkpoint_seconds, context.warn, context.tell)


def fingerprint(federation: Federation) -> str:
    """SHA-256 of the data as the engine sees it, first 16 digits."""
    digest = hashlib.sha256(json.dumps([federation.offsets, federation.clients]).encode())
    for tensor in (federation.x, federation.y, federation.test_x, federation.test_y):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)  # the buffer: no copy
    return digest.hexdigest()[:16]


def progress_of(context: Context, what: str) -> Callable[[int, int], None]:
    """The cell's progress callback for one of its phases."""
    return lambda done, total: context.progress(what, done, total)


def _statistics_fit(problem: Problem, context: Context) -> None:
    """What BatchNorm cannot do: take a variance from one value a channel, or stay above zero under much noise.

    Raises:
        SpecError: a participant's batch holds a single sample, and the model fails on it.
    """
    module, federation, size = problem.net.module, problem.federation, problem.local.batch_size
    if not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        return
    if problem.privacy is not None and problem.privacy.noise:
        context.warn("noise also goes to BatchNorm's variances: below zero they make the model's outputs NaN")
    drawn = sorted({k for round_ in problem.schedule for k in round_})
    single = [k for k in drawn if (federation.sizes[k] - 1) % (size or federation.sizes[k]) == 0]
    try:
        if single:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                clone(module).train()(federation.x[:1])
    except ValueError as fault:
        raise SpecError(
            f"client {federation.clients[single[0]]} trains on a batch of one sample, which BatchNorm cannot",
            "local.batch_size",
            "choose another, or partition.kind: dirichlet_balanced with the same batch_size, or a model without it",
        ) from fault


def _classes_held(problem: Problem, context: Context) -> None:
    """Warn of classes without a sample where an algorithm keeps statistics of every class."""
    federation = problem.federation
    if not problem.algorithm.splits or federation.predicts_numbers:
        return
    missing = (federation.label_counts().sum(0) == 0).nonzero().flatten().tolist()
    if missing:
        context.warn(
            f"no client holds a sample of class {', '.join(map(str, missing))}: features drawn for it come from "
            "statistics that nothing ever moves (algorithm.labels: batch draws none)"
        )


def tell_data(federation: Federation, loss: str, context: Context) -> None:
    """Say and record which test set the truth is measured on, how it was made, and what else was done to the data.

    Raises:
        SpecError: numbers are to be predicted by a loss of classes.
    """
    if federation.predicts_numbers and loss != "squared":
        what = f"{federation.name} has numbers to predict, and loss: {loss} is for classes"
        raise SpecError(what, "loss", "set loss: squared, or data.target: class")
    test_set = f"{len(federation.test_y)} test samples: {federation.test_from}"
    context.facts["test_set"] = test_set
    context.tell(f"truth is measured on {test_set}")
    for note in federation.notes:
        context.tell(note)
    if federation.own_tests:
        context.warn(
            "the test samples come from the clients that train, so that one with wrong labels is measured by them; "
            "a clean test set is given by data.test, data.split or data.test_clients"
        )


def one_hot(federation: Federation, dtype: torch.dtype) -> Federation:
    """Labels as targets [N, classes] for the squared loss; numbers to predict stay as they are."""
    if federation.predicts_numbers:
        return federation
    y, test_y = (
        torch.nn.functional.one_hot(labels, federation.classes).to(dtype)
        for labels in (federation.y, federation.test_y)
    )
    return replace(federation, y=y, test_y=test_y)
