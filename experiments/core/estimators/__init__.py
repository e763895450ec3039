"""Methods: one file each, found by being a file here.

A method is a block of a spec, like a model or a data set: its options are fields with defaults, `label` is what tables
and plots call it, `order` its place in them. To add a Hessian method write `experiments/core/estimators/<kind>.py`:

    class Scaled(HessianMethod):
        '''The identity, scaled.'''

        kind: Literal["scaled"] = "scaled"
        factor: float = Field(1.0, gt=0, description="what a vector is multiplied with")
        label: ClassVar[str] = "scaled identity"

        def solver(self, objective, theta, damping, seed=0, progress=quiet):
            return ScaledIdentity(objective, theta, damping, seed, progress, self.factor)

    class ScaledIdentity(InverseHessian):
        ...
        def solve(self, vectors):
            x = self._factor * vectors
            return Solution(x, self.residual(x, vectors), 0)

`methods: [exact, {kind: scaled, factor: 2.0}]` then runs it, `fedlab list --kinds` describes it, and the contract tests
of `tests/core/estimators/test_contract.py` hold it. The three families are `inverse_hessian.HessianMethod`,
`provenance.ProvenanceMethod` (and `provenance.FaultFinder`), and `client_influence.ClientInfluence`.

Reading a spec imports every public module here: none imports torch at its top. Long numerics of one method stand in
`_<kind>.py`, what several methods compute with in `numerics/`.
"""
