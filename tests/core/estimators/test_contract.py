"""What every method must do, whatever it computes: found, not listed."""

import math
import pickle

import pytest
import torch

from experiments.core.estimators.inverse_hessian import HessianMethod, Work
from experiments.core.estimators.method import Method, families, known, labels
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from tests.core.estimators.cases import explicit, logistic, normal

METHODS = known(Method)
HESSIAN = known(HessianMethod)
EXACT = {kind: method for kind, method in HESSIAN.items() if method.exact_with is not None}
DAMPING = 0.3


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_has_defaults_a_label_and_words_for_every_option(kind):
    method = METHODS[kind]()
    assert method.called == kind
    assert method.label.strip() == method.label != ""
    assert METHODS[kind].__doc__
    assert all(field.description for name, field in METHODS[kind].model_fields.items() if name != "kind")
    assert pickle.loads(pickle.dumps(method)) == method
    assert type(method).model_validate_json(method.model_dump_json()) == method


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_refuses_an_unknown_option(kind):
    with pytest.raises(ValueError, match="tolx"):
        METHODS[kind].model_validate({"kind": kind, "tolx": 1})


def test_no_two_methods_of_a_family_share_a_label_or_a_place():
    for members in families().values():
        for told in ([m.label for m in members.values()], [m.order for m in members.values()]):
            assert len(set(told)) == len(told)


def test_labels_stand_in_the_order_of_the_methods():
    orders = [HESSIAN[kind].order for kind in labels(HessianMethod)]
    assert orders == sorted(orders)


@pytest.mark.parametrize("kind", HESSIAN)
def test_a_spec_takes_the_word_and_the_block(kind):
    word = load("fragility/iris_decay", scale="smoke", overrides=read_overrides([f"methods=[{kind}]"])).spec
    block = load("fragility/iris_decay", scale="smoke", overrides=read_overrides([f"methods=[{{kind: {kind}}}]"])).spec
    assert word == block
    assert word.methods == (HESSIAN[kind](),)


@pytest.mark.parametrize("kind", HESSIAN)
def test_the_price_is_finite_positive_and_grows_with_the_work(kind):
    method = HESSIAN[kind]()
    small, large = (method.price(Work(100, 500, tests, 1e-3 * tests)) for tests in (1, 4))
    assert 0 < small < large < math.inf
    assert 0 <= method.memory(100) <= method.memory(200) < math.inf


def solved(kind, vectors, options=None, seed=0):
    objective, theta = logistic()
    return HESSIAN[kind](**(options or {})).solver(objective, theta, DAMPING, seed).solve(vectors)


@pytest.mark.parametrize("kind", HESSIAN)
def test_solutions_are_finite_and_of_the_right_shape(kind):
    p = logistic()[0].net.p
    for columns in (1, 3):
        solution = solved(kind, normal(p, columns))
        assert solution.x.shape == (p, columns) and solution.residual.shape == (columns,)
        assert solution.x.isfinite().all() and solution.residual.isfinite().all()
        assert all(math.isfinite(fact) for fact in solution.facts.values())


@pytest.mark.parametrize("kind", HESSIAN)
def test_the_residual_is_that_of_the_damped_system(kind):
    objective, theta = logistic()
    v = normal(objective.net.p, 2)
    solution = solved(kind, v)
    matrix = explicit(objective, theta) + DAMPING * torch.eye(objective.net.p, dtype=torch.float64)
    expected = (matrix @ solution.x - v).norm(dim=0) / v.norm(dim=0)
    torch.testing.assert_close(solution.residual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", HESSIAN)
def test_a_solution_does_not_depend_on_the_other_vectors(kind):
    v, options = normal(logistic()[0].net.p, 3), HESSIAN[kind].exact_with
    alone = torch.cat([solved(kind, column, options).x for column in v.split(1, 1)], 1)
    torch.testing.assert_close(solved(kind, v, options).x, alone, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", HESSIAN)
def test_the_inverse_is_linear_and_positive_definite_on_a_convex_problem(kind):
    options = HESSIAN[kind].exact_with or {}
    a, b = normal(logistic()[0].net.p, 2).split(1, 1)
    x, y, both = (solved(kind, v, options).x for v in (a, b, a - 2 * b))
    torch.testing.assert_close(both, x - 2 * y, rtol=1e-7, atol=1e-7)
    assert float((a * x).sum()) > 0 and float((b * y).sum()) > 0


@pytest.mark.parametrize("kind", HESSIAN)
def test_the_same_seed_gives_the_same_solution(kind):
    v = normal(logistic()[0].net.p, 2)
    assert torch.equal(solved(kind, v, seed=3).x, solved(kind, v, seed=3).x)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("columns", [1, 3])
def test_what_solves_exactly_equals_the_explicit_matrix(kind, columns):
    objective, theta = logistic()
    v = normal(objective.net.p, columns)
    matrix = explicit(objective, theta) + DAMPING * torch.eye(objective.net.p, dtype=torch.float64)
    solution = solved(kind, v, EXACT[kind].exact_with)
    torch.testing.assert_close(solution.x, torch.linalg.solve(matrix, v), rtol=1e-7, atol=1e-7)


def test_what_counts_as_the_truth_for_the_others_solves_the_whole_system():
    truths = {kind for kind, method in HESSIAN.items() if method.solves}
    assert truths and truths <= set(EXACT)
