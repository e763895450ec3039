"""The cells of Xue et al. 2021: one per seed, with truth, estimates and client cleansing; Table 1's measurements."""

from __future__ import annotations

from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.examine import must_stand_still
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.training import trained_as
from experiments.core.engine.worlds import leave_one_out
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import Built, build, checkpoint, formulation, progress_of
from experiments.core.study.quality import quality
from experiments.core.subject import subject
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.influence import PAPER
from experiments.influence.algorithms import algorithm_cells
from experiments.influence.cleansing import cleanse
from experiments.influence.cost import cost_cells
from experiments.influence.estimate import estimate, of_estimates
from experiments.influence.recorder import WHOLE, Recorder, ranking_variant
from experiments.influence.spec import AlgorithmsSpec, CostSpec, InfluenceSpec


def cells(spec: InfluenceSpec | AlgorithmsSpec | CostSpec) -> list[Cell]:
    """The cells of one setting: one a seed; one an algorithm and seed where algorithms are compared."""
    if isinstance(spec, CostSpec):
        return cost_cells(spec)
    if isinstance(spec, AlgorithmsSpec):
        return algorithm_cells(spec)
    return cells_of(PAPER, spec, estimate, compute)


def compute(spec: InfluenceSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train the base world, the leave-one-out worlds and the estimators in one pass; then the cleansing worlds."""
    built = build(spec, seed, context)
    must_stand_still(built.problem.net, "its gradients")
    problem, clients = built.problem, len(built.problem.federation.sizes)
    if spec.algorithm.kind != "fedavg":
        context.warn(
            f"the truth is that of {spec.algorithm.kind}; the estimates are derived for FedAvg's mean (Eq. 10)"
        )
    counted = _counted(spec, seed, clients)
    chosen = formulation(spec, problem, len(counted) + 1, context, of_estimates(spec, problem.net.size, clients))
    columns = _columns(spec, counted, clients)
    with Workers(context.threads) as workers:
        net = _as_trained(problem, built.start, chosen)
        estimator = FedInfluence(net, problem.federation, columns, spec.gradients, seed, workers, problem.shown)
        tracked = _tracked(spec, problem.federation, seed, counted)
        recorder = Recorder(
            spec, problem, estimator, columns, counted, tracked, chosen, workers,
            partial=lambda rows: context.partial([{**built.columns, **row} for row in rows]),
            show_status=context.status,
        )  # fmt: skip
        simulate(
            problem,
            leave_one_out(counted, problem.federation.clients),
            built.start,
            chosen,
            observers=[estimator, recorder],
            threads=context.threads,
            checkpoint=checkpoint(spec, context, "truth"),
            progress=progress_of(context, "rounds, all worlds"),
        )
        rows = (
            recorder.rows
            + quality(problem.net, problem.federation, *recorder.of_base(), context)
            + explosion(recorder.rows, [s.name for s in problem.net.params])
            + _described(spec, built, counted)
        )
        if spec.cleansing is not None:
            rows += cleanse(spec, problem, recorder, chosen, workers, context)
    keep_clients(problem.federation, context)
    for name in columns:
        if estimator.stopped(name):
            context.log(f"variant {name} left the finite numbers in round {estimator.stopped(name)} and was stopped")
    return [{**built.columns, **row} for row in rows]


def _as_trained(problem: Problem, start: Tensor, chosen: Formulation) -> Net:
    """The model whose derivatives are those of local training, determined on the first participant's first batch.

    Raises:
        SpecError: there is no such model.
    """
    client = problem.schedule[0][0]
    x, y = problem.federation.of(client)
    rows = problem.batches(client, 1)[0]
    x, y = (x, y) if rows is None else (x[rows], y[rows])
    return trained_as(problem.net, chosen, start, x, y, problem.draws_of(client, 1))


def _counted(spec: InfluenceSpec, seed: int, clients: int) -> list[int]:
    """The clients whose leave-one-out worlds are trained, ascending.

    Raises:
        SpecError: more than there are, or too few to correlate estimates with the truth.
    """
    if clients < 3:
        raise SpecError(
            f"the data has {clients} clients, too few to correlate estimates with the truth",
            "data",
            "bring at least 3 clients; `fedlab train --exclude-clients` leaves out one of two",
        )
    if spec.counted is None or spec.counted == clients:
        return list(range(clients))
    if spec.counted > clients:
        raise SpecError(
            f"{spec.counted} clients to count, but the data has {clients}", "counted", "lower it, or null for all"
        )
    return sorted(stream(seed, "counted").choice(clients, spec.counted, replace=False).tolist())


def _tracked(spec: InfluenceSpec, federation: Federation, seed: int, counted: list[int]) -> int:
    """The client of Figs. 1, 2 and 6."""
    if spec.tracked_client is None:
        return counted[int(stream(seed, "tracked").integers(len(counted)))]
    (tracked,) = federation.positions([spec.tracked_client], "tracked_client")
    if tracked not in counted:
        raise SpecError(
            f"client {spec.tracked_client!r} is not among those counted",
            "tracked_client",
            "count all clients, or name another",
        )
    return tracked


def _columns(spec: InfluenceSpec, counted: list[int], clients: int) -> dict[str, Variant]:
    """Variant -> what it estimates, for whom: the counted clients first; the ranking variant covers all clients."""
    everybody = tuple(counted) + tuple(k for k in range(clients) if k not in set(counted))
    ranking = ranking_variant(spec)
    return {
        method.called: method.variant(everybody if method.called == ranking else tuple(counted))
        for method in spec.variants
    }


def explosion(rows: list[Row], tensors: list[str]) -> list[Row]:
    """Where and when the basic estimator diverges from the truth (Figs. 1 and 2), for the tracked client.

    The first evaluated round in which the norm of its estimate, and of its error, is above ten times the norm of the
    exact FIP; and the number (from 1) of the parameter tensor with the largest norm at the last round it was tracked.
    No rows where that never happens.
    """
    values = {(r.get("method"), r["metric"], r["subject"], r.get("round")): r["value"] for r in rows}
    rounds = sorted(
        t for method, metric, about, t in values if (method, metric, about) == ("basic", "fip_norm", WHOLE) and t
    )
    risen: list[Row] = []
    for metric in ("fip_norm", "fip_error"):
        above = [
            t for t in rounds if values["basic", metric, WHOLE, t] > 10 * values["exact", "fip_norm", WHOLE, t] > 0
        ]
        risen += (
            [
                {
                    "method": "basic",
                    "metric": f"{metric}_rises",
                    "subject": WHOLE,
                    "value": float(above[0]),
                    "unit": "round",
                }
            ]
            if above
            else []
        )
    if risen:
        norms = [values["basic", "fip_norm", subject(tensor=name), rounds[-1]] for name in tensors]
        largest = float(norms.index(max(norms)) + 1)
        risen.append(
            {
                "method": "basic",
                "metric": "exploding_layer",
                "subject": WHOLE,
                "value": largest,
                "unit": "tensor number",
            }
        )
    return risen


def _described(spec: InfluenceSpec, built: Built, counted: list[int]) -> list[Row]:
    """Table 2 as run, and Fig. 5: client sizes and label counts."""
    problem = built.problem
    federation, local = problem.federation, problem.local
    numbers: dict[str, float] = {
        "lr": local.lr,
        "clients": len(federation.sizes),
        "clients_per_round": spec.clients_per_round,
        "local_iterations": local.steps or local.epochs or 0,
        "rounds": spec.rounds,
        "gradients_per_iteration": spec.gradients,
        "parameters": problem.net.p,
        "train_samples": federation.offsets[-1],
        "test_samples": len(federation.test_y),
        "counted": len(counted),
        "ranking_share": spec.ranking_share,
    }
    if spec.cleansing is not None:
        numbers["cleansing_round"] = spec.cleansing.round
    rows: list[Row] = [
        {"metric": "config", "subject": subject(key=key), "value": float(value)} for key, value in numbers.items()
    ]
    none: list[list[int]] = [[]] * len(federation.sizes)  # a regression has no labels
    counts = none if federation.predicts_numbers else federation.label_counts().tolist()
    for name, size, labels in zip(federation.clients, federation.sizes, counts, strict=True):
        rows.append({"metric": "client_size", "subject": subject(client=name), "value": float(size), "unit": "samples"})
        rows += [
            {"metric": "label_count", "subject": subject(client=name, label=c), "value": float(n), "unit": "samples"}
            for c, n in enumerate(labels)
            if n
        ]
    return rows
