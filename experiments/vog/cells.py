"""The cells of Usynin et al. 2023: train, score all samples, then whatever else is to be measured of them."""

from __future__ import annotations

from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.study.cells import cells_of
from experiments.core.study.clients import keep_clients
from experiments.core.study.federated import Built, build, checkpoint, formulation, progress_of
from experiments.core.study.privacy import privacy_rows
from experiments.core.study.quality import quality
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.vog import PAPER
from experiments.vog.agreement import agreements
from experiments.vog.blocks import Measure
from experiments.vog.checkpoints import Checkpoints
from experiments.vog.diary import Diary
from experiments.vog.price import price, worlds_of
from experiments.vog.spec import ORDER, WORDS, VogSpec
from experiments.vog.stored import keep_scores
from experiments.vog.study import Study, planted, require_classes, scored, trail_of


def cells(spec: VogSpec) -> list[Cell]:
    """The cells of one setting: every point of the grid, every seed."""
    return cells_of(PAPER, spec, price, compute, spec.grid, ORDER, WORDS)


def compute(spec: VogSpec, point: str, seed: int, context: Context) -> list[Row]:
    """Train, score every training sample by every method, then measure what the spec's blocks ask for."""
    built = build(spec, seed, context)
    require_classes(built.problem)
    problem, flipped = planted(spec, built.problem)
    for block in spec.measures.values():
        block.check(spec, problem)
    data = problem.federation
    worlds = worlds_of(spec, len(data.y), problem.net.size, len(data.sizes))
    chosen = formulation(spec, problem, worlds, context)
    with Workers(context.threads) as workers:
        diary = Diary(spec, point, problem, chosen, workers, context, built.columns)
        kept, final = _trained(spec, built, problem, chosen, diary, context)
        raw, seconds = scored(spec, trail_of(spec, problem, kept), context)
        study = Study(
            spec, point, seed, problem, built.start, final, chosen, workers, context, kept, flipped, raw, seconds
        )
        study.say_unscaled(raw, "of the whole run")
        keep_scores(study)
        keep_clients(problem.federation, context)
        rows = [*diary.metrics.rows, *quality(problem.net, problem.federation, *diary.last(), context, point)]
        rows += [{**row, "subject": " ".join(filter(None, [point, row.get("subject")]))}
                 for row in privacy_rows(spec, problem)]  # fmt: skip
        rows += _of_scores(study)
        for name, block in spec.measures.items():
            context.partial([{**built.columns, **row} for row in rows])
            rows += _measured(name, block, study)
    return [{**built.columns, **row} for row in rows]


def _trained(
    spec: VogSpec, built: Built, problem: Problem, chosen: Formulation, diary: Diary, context: Context
) -> tuple[Checkpoints, Tensor]:
    """The states that are scored (and at the end of the warm-up), and the last one."""
    wanted = {*spec.kept(), *(spec.kept(spec.removal.after) if spec.removal else ())}
    kept = Checkpoints(sorted(wanted), lambda t: checkpoint(spec, context, f"state-{t:05d}"))
    saved = checkpoint(spec, context, "train")
    kept.verify(saved, 1)
    (final,) = simulate(
        problem,
        [BASE],
        built.start,
        chosen,
        observers=[diary, kept],
        threads=context.threads,
        checkpoint=saved,
        progress=progress_of(context, "rounds"),
    )
    return kept, final


def _measured(name: str, block: Measure, study: Study) -> list[Row]:
    """The rows of one block, kept when it is done."""
    saved = checkpoint(study.spec, study.context, f"rows-{name}")
    content = saved.load()
    if content is None:
        content = {"rows": block.measure(study)}
        saved.save(content)
    rows: list[Row] = content["rows"]
    return rows


def _of_scores(study: Study) -> list[Row]:
    """Mean of each method's raw scores, what they took, and how far every two agree."""
    rows = Rows(study.point)
    for name, scores in study.raw.items():
        rows.add(name, "score_mean", float(scores.mean()), n=len(scores))
        rows.add(name, "seconds", study.seconds[name], "s", n=len(scores), of="scores")
    scaled = {name: study.scaled(scores) for name, scores in study.raw.items()}
    return [*rows.rows, *agreements(scaled, study.point)]
