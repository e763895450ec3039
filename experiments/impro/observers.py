"""The measures that a spec asks for, as observers of its run."""

from __future__ import annotations

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.problem import Problem
from experiments.core.sweep.cell import Context
from experiments.impro.distance import DistanceMeasure
from experiments.impro.inverted import InversionMeasure
from experiments.impro.measure import Measure
from experiments.impro.pixels import keep_images
from experiments.impro.spec import ImproSpec
from experiments.impro.variance import VarianceMeasure


def measures_of(
    spec: ImproSpec, point: str, problem: Problem, formulation: Formulation, workers: Workers
) -> list[Measure]:
    """An observer for each of the spec's blocks `variance`, `distance` and `inversion` that is there.

    Raises:
        SpecError: the model has no such block to be cut behind; data that are no images are to be inverted.
    """
    about = spec.algorithm.kind, point, problem
    measures: list[Measure] = []
    if spec.variance is not None:
        measures.append(VarianceMeasure(spec.variance, *about))
    if spec.distance is not None:
        measures.append(DistanceMeasure(spec.distance, *about, formulation, workers))
    if spec.inversion is not None:
        measures.append(InversionMeasure(spec.inversion, *about))
    return measures


def keep(measures: list[Measure], context: Context) -> None:
    """Write what measures have beside rows into the cell's folder."""
    for measure in measures:
        if isinstance(measure, InversionMeasure) and measure.images is not None:
            keep_images(measure.images, context)
