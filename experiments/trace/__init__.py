"""TraceFL: Interpretability-Driven Debugging in Federated Learning via Neuron Provenance (Gill et al. 2025)."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="trace",
    title="TraceFL: Interpretability-Driven Debugging in Federated Learning via Neuron Provenance",
    citation="Gill et al. 2025",
    version=1,
    main="localization",
    spec="experiments.trace.spec:TraceSpec",
    cells="experiments.trace.cells:cells",
    report="experiments.trace.figures:report",
    question="Which client is responsible for this prediction?",
    progress="experiments.trace.progress:PROGRESS",
)
