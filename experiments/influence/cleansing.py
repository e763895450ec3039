"""Client cleansing (Fig. 4): remove clients at round x by their estimated influence, and continue training."""

from __future__ import annotations

from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE, World
from experiments.core.study.federated import checkpoint, progress_of
from experiments.core.study.removal import leading, ranked
from experiments.core.subject import subject
from experiments.core.sweep.cell import Context, Row
from experiments.influence.recorder import Recorder
from experiments.influence.spec import InfluenceSpec

ORDERS = ("lowest FIL", "highest FIL", "lowest FIA", "highest FIA", "random")


def cleanse(
    spec: InfluenceSpec,
    problem: Problem,
    recorder: Recorder,
    formulation: Formulation,
    workers: Workers,
    context: Context,
) -> list[Row]:
    """Worlds that lose a share of their clients after round x, forked from the base world there, trained to T.

    Returns:
        Rows `cleansing_loss` and `cleansing_accuracy` of every order and share at T; share 0 is the base world. Where
        the ranking variant stopped being finite before x there is no ranking, and only `random` is tried.
    """
    assert spec.cleansing is not None and recorder.base_at_x is not None
    x, clients = spec.cleansing.round, len(problem.federation.sizes)
    numbers = problem.federation.predicts_numbers
    names = [name for name in ORDERS if recorder.ranking and not (numbers and "FIA" in name)] or ["random"]
    orders = {name: _order(name, recorder.ranking, clients, problem.seed) for name in names}
    plan = [
        (name, share, gone)
        for fraction in spec.cleansing.fractions
        for name in names
        for share, gone in leading(orders[name], [fraction])
    ]
    worlds = [World(f"{name} {share:g}", frozenset(gone), since=x + 1) for name, share, gone in plan]
    states = simulate(
        problem,
        [BASE, *worlds],
        recorder.base_at_x,
        formulation,
        first_round=x + 1,
        threads=context.threads,
        checkpoint=checkpoint(spec, context, "cleansing"),
        progress=progress_of(context, "rounds, cleansing worlds"),
    )
    f = problem.federation
    scores = evaluate(formulation, states, f.test_x, f.test_y, workers)
    named = [(name, 0.0) for name in names] + [(name, share) for name, share, _ in plan]
    world_indices = [0] * len(names) + list(range(1, len(states)))
    rows: list[Row] = []
    for (name, share), world in zip(named, world_indices, strict=True):
        common = {"method": name, "subject": subject(removed=f"{share:g}"), "round": spec.rounds, "n": len(f.test_y)}
        rows.append({**common, "metric": "cleansing_loss", "value": float(scores.loss[world]), "unit": "nats"})
        accuracy = {"metric": "cleansing_accuracy", "value": 100 * float(scores.accuracy[world]), "unit": "%"}
        rows += [] if numbers else [{**common, **accuracy}]
    return rows


def _order(name: str, ranking: dict[str, Tensor], clients: int, seed: int) -> list[int]:
    """Clients in the order in which they are removed. Ties of FIA (a step function) are broken by FIL."""
    if name == "random":
        return stream(seed, "cleansing").permutation(clients).tolist()
    end, what = name.split()
    by_client = ranking["clients"].argsort()
    loss, accuracy = (ranking[key][by_client].numpy(force=True) for key in ("fil", "fia"))
    scores = (loss,) if what == "FIL" else (accuracy, -loss)
    return ranked(*scores, largest=end == "highest")
