"""What a cell costs: the training, the scores of all samples, and the measures that are asked for."""

from __future__ import annotations

from dataclasses import replace

from experiments.core.estimators.sample_score import Scored
from experiments.core.study.price import Price, Size, memory, of_run, size_of, training
from experiments.vog.spec import VogSpec


def price(spec: VogSpec) -> Price:
    """The price of one cell."""
    whole, size = of_run(spec), size_of(spec)
    if size is None:
        return replace(whole, worlds=max(1, _removals(spec)))
    samples = round(size.samples * size.clients)
    worlds = worlds_of(spec, samples, size.parameters, size.clients)
    seconds = whole.seconds + _scores(spec, size, None) + _removal(spec, size)
    seconds += whole.seconds * sum(block.trainings(samples, size.clients) for block in spec.measures.values())
    states = 8 * size.parameters * len(spec.kept())
    return Price(seconds, worlds, memory(spec, size, worlds) + states)


def worlds_of(spec: VogSpec, samples: int, size: int, clients: int) -> int:
    """How many trainings stand side by side at most, of states of length `size` on so many samples and clients."""
    return max(1, _removals(spec), *(block.worlds(samples, size, clients) for block in spec.measures.values()))


def _removals(spec: VogSpec) -> int:
    """Worlds of the removal, 0 without it."""
    block = spec.removal
    return 0 if block is None else 1 + block.random + len(spec.methods) * (1 + block.lowest)


def _scores(spec: VogSpec, size: Size, until: int | None) -> float:
    """Seconds for all scores of a run of `until` rounds."""
    work = Scored(round(size.samples * size.clients), len(spec.kept(until)), size.parameters, size.forward)
    return sum(method.price(work) for method in spec.methods)


def _removal(spec: VogSpec, size: Size) -> float:
    """Seconds for the warm-up's scores, and for the rounds after it in every world."""
    if spec.removal is None:
        return 0.0
    share = (spec.rounds - spec.removal.after) / spec.rounds
    return _scores(spec, size, spec.removal.after) + share * training(spec, size, _removals(spec))
