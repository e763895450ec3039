"""Influence Functions in Deep Learning Are Fragile (Basu, Pope and Feizi 2021)."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="fragility",
    title="Influence Functions in Deep Learning Are Fragile",
    citation="Basu et al. 2021",
    version=1,
    main="iris_decay",
    spec="experiments.fragility.spec:FragilitySpec",
    cells="experiments.fragility.cells:cells",
    report="experiments.fragility.figures:report",
    question="How would the loss on this test sample change if that training sample had not been there?",
)
