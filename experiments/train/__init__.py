"""The federated run itself: what `fedlab train` does. No paper stands behind it, and it prints no numbers."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="train",
    title="One federated run",
    citation="",
    version=2,
    main="digits_cnn",
    spec="experiments.train.spec:TrainSpec",
    cells="experiments.train.cells:cells",
    report="experiments.train.figures:report",
)
