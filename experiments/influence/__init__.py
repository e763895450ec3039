"""Toward Understanding the Influence of Individual Clients in Federated Learning (Xue et al. 2021)."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="influence",
    title="Toward Understanding the Influence of Individual Clients in Federated Learning",
    citation="Xue et al. 2021",
    version=2,
    main="setting1",
    spec="experiments.influence.spec:SPECS",
    cells="experiments.influence.cells:cells",
    report="experiments.influence.figures:report",
    question="What would the global model be if this client had never taken part?",
    progress="experiments.influence.progress:PROGRESS",
)
