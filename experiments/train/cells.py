"""The cells of `fedlab train`: one federated run per seed, whole or with clients left out."""

from __future__ import annotations

import json
import math
from typing import Any

import safetensors.torch
from torch import Tensor

from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import Round, simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World, without_clients
from experiments.core.names import folder_of
from experiments.core.recorded.describe import describe
from experiments.core.sealed import set_aside
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import Built, build, checkpoint, formulation, progress_of
from experiments.core.study.price import of_run
from experiments.core.study.privacy import privacy_rows
from experiments.core.study.quality import quality, status
from experiments.core.subject import subject
from experiments.core.sweep import files
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.train import PAPER
from experiments.train.spec import TrainSpec


def cells(spec: TrainSpec) -> list[Cell]:
    """One cell a seed."""
    return cells_of(PAPER, spec, of_run, compute, setting=_setting(spec))


def _setting(spec: TrainSpec) -> str:
    """The name of the folder: a counterfactual world has one of its own beside the whole run's."""
    if not spec.exclude_clients:
        return spec.name
    since = f".since.{spec.since}" if spec.since > 1 else ""
    return f"{spec.name}.without.{folder_of(spec.exclude_clients)}{since}"


def compute(spec: TrainSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train, evaluate every `evaluate_every` rounds, and leave the final model as model.safetensors.

    The whole federation is trained by the engine. With clients left out it is exactly one counterfactual world, on the
    plain path: one model, one client, one step after another.
    """
    built = build(spec, seed, context)
    world = _world(spec, built.problem.federation)
    chosen = formulation(spec, built.problem, 1, context)
    if spec.record:
        describe(spec, built.problem.federation, context.folder)
    with Workers(context.threads) as workers:
        diary = _Diary(spec, built.problem, world, chosen, workers, context)
        final = (
            _plain(spec, built, world, diary, context)
            if world.clients
            else _engine(spec, built, chosen, diary, context)
        )
    _save(built.problem, final, context, "model.safetensors")
    keep_clients(built.problem.federation, context)
    judged = quality(built.problem.net, built.problem.federation, *diary.last(), context)
    return [{**built.columns, **row} for row in [*diary.rows, *judged, *privacy_rows(spec, built.problem, world)]]


def _engine(spec: TrainSpec, built: Built, chosen: Formulation, diary: _Diary, context: Context) -> Tensor:
    saved = checkpoint(spec, context, "train")
    if spec.record:
        _refuse_spoilt_rounds(saved, context)
    return simulate(
        built.problem,
        [BASE],
        built.start,
        chosen,
        observers=[diary],
        threads=context.threads,
        checkpoint=saved,
        progress=progress_of(context, "rounds"),
    )[0]


def _refuse_spoilt_rounds(saved: Checkpoint, context: Context) -> None:
    """Begin anew where a recorded file is no longer what was written before the interruption."""
    content = saved.load()
    recorded = content["observers"][0].get("recorded", {}) if content is not None else {}
    for name, written in recorded.items():
        path = context.folder / name
        if not path.is_file() or files.sha256(path) != written:
            aside = set_aside(saved.path)
            context.warn(f"the recorded {name} is damaged: {saved.path.name} set aside as {aside}, recorded anew")
            return


def _plain(spec: TrainSpec, built: Built, world: World, diary: _Diary, context: Context) -> Tensor:
    saved = checkpoint(spec, context, "plain")
    content = saved.load()
    if content is None:
        content = {"round": 0, "state": built.start.cpu(), "algorithm": {}, "diary": diary.state()}
    else:
        saved.resumes("round", content["round"] + 1, spec.rounds)
    diary.restore(content["diary"])
    device = built.start.device
    state, memory = content["state"].to(device), {name: x.to(device) for name, x in content["algorithm"].items()}
    for t, after in simulate_plain(built.problem, world, state, content["round"] + 1, memory):
        state = after
        diary.note(t, state)
        if saved.due() or t == spec.rounds:
            saved.save({"round": t, "state": state, "algorithm": memory, "diary": diary.state()})
        context.progress("rounds", t, spec.rounds)
    return state


def _world(spec: TrainSpec, federation: Federation) -> World:
    gone = federation.positions(spec.exclude_clients, "exclude_clients")
    return without_clients(gone, federation.clients, spec.since) if gone else BASE


class _Diary:
    """Loss and accuracy of the global model round by round, and the recorded models if asked for."""

    needs_iterates = False

    def __init__(
        self, spec: TrainSpec, problem: Problem, world: World, chosen: Formulation, workers: Workers, context: Context
    ) -> None:
        self._spec, self._problem, self._method = spec, problem, world.label
        self._chosen, self._workers, self._context = chosen, workers, context
        self.rows: list[Row] = []
        self._recorded: dict[str, str] = {}  # file -> SHA-256

    def observe(self, record: Round) -> None:
        """A round of the engine."""
        self.note(record.index, record.after)
        if self._spec.record:
            self._record(record)

    def note(self, t: int, state: Tensor) -> None:
        """Evaluate the global state [size] after round t, if it is its turn."""
        if t % self._spec.evaluate_every and t != self._spec.rounds:
            return
        f = self._problem.federation
        scores = evaluate(self._chosen, state[None], f.test_x, f.test_y, self._workers)
        common = {"method": self._method, "subject": subject(data="test"), "round": t, "n": len(f.test_y)}
        self.rows.append({**common, "metric": "loss", "value": float(scores.loss[0]), "unit": "nats"})
        if not f.predicts_numbers:
            self.rows.append({**common, "metric": "accuracy", "value": 100 * float(scores.accuracy[0]), "unit": "%"})
        self._context.status(status(*self.last()))

    def last(self) -> tuple[float, float]:
        """Test loss and accuracy (in [0, 1]; NaN of numbers to predict) when the model was evaluated last."""
        values = {row["metric"]: row["value"] for row in self.rows}
        return values["loss"], values.get("accuracy", math.nan) / 100

    def _record(self, record: Round) -> None:
        """One folder a round: global.safetensors (before privacy's noise), client_<k>.safetensors, round.json."""
        folder = f"rounds/{record.index:05d}"
        names = ["global.safetensors", *(f"client_{k}.safetensors" for k in record.participants), "round.json"]
        _save(self._problem, record.aggregate, self._context, f"{folder}/global.safetensors")
        for k, local in zip(record.participants, record.locals, strict=True):
            _save(self._problem, local, self._context, f"{folder}/client_{k}.safetensors")
        note = {"round": record.index, "participants": record.participants, "sizes": record.sizes.tolist()}
        files.atomic_write(self._context.folder / folder / "round.json", json.dumps(note).encode())
        for name in names:
            self._recorded[f"{folder}/{name}"] = files.sha256(self._context.folder / folder / name)

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"rows": self.rows, "recorded": self._recorded}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state`."""
        self.rows, self._recorded = state["rows"], state["recorded"]


def _save(problem: Problem, state: Tensor, context: Context, name: str) -> None:
    """Write a flat state as a state dict under the module's own names, integer buffers included."""
    constants = {n: b for n, b in problem.net.module.named_buffers() if not b.is_floating_point()}
    named = {**constants, **problem.net.views(state)}  # counters are of the state
    path = context.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(
        path, safetensors.torch.save({n: t.detach().cpu().contiguous().clone() for n, t in named.items()})
    )
