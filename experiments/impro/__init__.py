"""FedImpro: Measuring and Improving Client Update in Federated Learning (Tang et al. 2024)."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="impro",
    title="FedImpro: Measuring and Improving Client Update in Federated Learning",
    citation="Tang et al. 2024",
    version=1,
    main="table1",
    spec="experiments.impro.spec:ImproSpec",
    cells="experiments.impro.cells:cells",
    report="experiments.impro.figures:report",
    question="Which federated algorithm drifts least, and does sharing feature distributions help?",
    progress="experiments.impro.progress:PROGRESS",
)
