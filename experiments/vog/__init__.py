"""Incentivising the federation: VoG and PLIS, in private training and without (Usynin, Rueckert and Kaissis 2023)."""

from experiments.core.paper import Paper

PAPER = Paper(
    name="vog",
    title="Incentivising the federation: gradient-based metrics for data selection and valuation in private "
    "decentralised training",
    citation="Usynin et al. 2023",
    version=1,
    main="table1",
    spec="experiments.vog.spec:VogSpec",
    cells="experiments.vog.cells:cells",
    report="experiments.vog.figures:report",
    question="Which training samples are worth having, and does private training pick the same ones?",
    progress="experiments.vog.progress:PROGRESS",
)
