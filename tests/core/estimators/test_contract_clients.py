"""What every method that judges clients must do: found, not listed."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.estimators.client_influence import ClientInfluence, Steps
from experiments.core.estimators.method import known
from experiments.core.estimators.numerics.tracefl import contributions
from experiments.core.estimators.provenance import FaultFinder, Inputs, ProvenanceMethod, Traced, TraceMethod
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from tests.core.estimators.cases import generator
from tests.core.estimators.test_fed_influence import problem, run

TRACE, VARIANTS = known(TraceMethod), known(ClientInfluence)
SCORING, FINDING = known(ProvenanceMethod), known(FaultFinder)


@pytest.fixture(scope="module")
def traced():
    """Four predictions of a round with three participants of different sizes."""
    toy = problem(rounds=2)
    record = run(toy, {})[1].records[-1]
    return explained(toy.net, record, toy.federation.test_x[:4])


def explained(net, record, x):
    return Traced(record, contributions(net, record.aggregate, record.locals, x))


@pytest.mark.parametrize("kind", SCORING)
def test_scores_are_finite_one_for_each_prediction_and_participant(kind, traced):
    scores = SCORING[kind]().scores(traced)
    assert scores.shape == (4, 3) and scores.isfinite().all()
    assert torch.equal(scores, SCORING[kind]().scores(traced))


@pytest.mark.parametrize("kind", SCORING)
def test_participants_in_another_order_get_the_same_scores(kind, traced):
    toy, order = problem(rounds=2), [2, 0, 1]
    record = replace(
        traced.record,
        participants=tuple(traced.record.participants[k] for k in order),
        sizes=traced.record.sizes[order],
        locals=traced.record.locals[order],
    )
    other = SCORING[kind]().scores(explained(toy.net, record, toy.federation.test_x[:4]))
    torch.testing.assert_close(other, SCORING[kind]().scores(traced)[:, order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", SCORING)
def test_equal_participants_get_equal_scores(kind, traced):
    toy, record = problem(rounds=2), traced.record
    locals_, sizes = record.locals.clone(), record.sizes.clone()
    locals_[1], sizes[1] = locals_[0], sizes[0]
    record = replace(record, locals=locals_, sizes=sizes)
    scores = SCORING[kind]().scores(explained(toy.net, record, toy.federation.test_x[:4]))
    torch.testing.assert_close(scores[:, 0], scores[:, 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind, method in SCORING.items() if not method.sees_inputs])
def test_who_has_not_moved_gets_nothing_from_a_method_that_sees_updates_alone(kind, traced):
    locals_ = traced.record.locals.clone()
    locals_[1] = traced.record.before
    scores = SCORING[kind]().scores(replace(traced, record=replace(traced.record, locals=locals_)))
    assert not scores[:, 1].any() and scores[:, [0, 2]].all()


@pytest.mark.parametrize("kind", TRACE)
def test_a_trace_setting_takes_the_word_and_the_block(kind):
    lists = (f"methods=[norm, {kind}]", f"methods=[norm, {{kind: {kind}}}]") if kind != "norm" else ("methods=[norm]",)
    specs = [load("trace/faults", scale="smoke", overrides=read_overrides((methods,))).spec for methods in lists]
    assert all(spec == specs[0] for spec in specs)
    assert specs[0].methods[-1] == TRACE[kind]()


@pytest.mark.parametrize("kind", TRACE)
def test_the_price_of_tracing_is_finite_positive_and_grows_with_the_participants(kind):
    small, large = (TRACE[kind]().price(Inputs(20, clients, 1000, 1e5)) for clients in (5, 50))
    assert 0 < small < large < math.inf


@pytest.mark.parametrize("kind", FINDING)
def test_a_client_with_negated_weights_is_declared_wherever_it_stands(kind):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    net, finder = Net.of(module, "cross_entropy"), FINDING[kind]()
    healthy = net.flat() + 1e-4 * torch.randn(4, net.size, generator=generator())
    x = finder.draw((1, 8, 8), seed=1)
    assert torch.equal(x, finder.draw((1, 8, 8), seed=1)) and x.shape[1:] == (1, 8, 8)
    for place in range(4):
        states = healthy.clone()
        states[place] *= -1
        assert finder.declared(net, states, x, 1) == [(place,)] * len(x)


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_variant_is_exact_after_one_round_and_zero_for_who_took_no_part(kind):
    toy = problem(rounds=1)
    clients = tuple(range(len(toy.federation.sizes)))
    estimator, recorder = run(toy, {kind: VARIANTS[kind]().variant(clients)})
    states = recorder.states[-1]
    change = estimator.change(kind)
    assert change.shape == (len(clients), toy.net.size)
    torch.testing.assert_close(change, states[1:] - states[0], rtol=1e-9, atol=1e-12)
    absent = [c for c in clients if c not in recorder.records[-1].participants]
    assert absent and not change[absent].any()


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_variant_does_not_depend_on_the_order_of_the_clients(kind):
    toy = problem()
    told = {}
    for order in ((0, 1, 2, 3, 4, 5), (4, 1, 5, 0, 3, 2)):
        estimator = run(toy, {kind: VARIANTS[kind]().variant(order)})[0]
        told[order] = dict(zip(order, estimator.change(kind), strict=True))
    first, second = told.values()
    for c, row in first.items():
        torch.testing.assert_close(row, second[c], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", VARIANTS)
def test_an_influence_setting_takes_the_word_and_the_block(kind):
    lists = (f"variants=[{kind}]", f"variants=[{{kind: {kind}}}]")
    word, block = (
        load("influence/setting1", scale="smoke", overrides=read_overrides((variants,))).spec for variants in lists
    )
    assert word == block and word.variants == (VARIANTS[kind](),)


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_price_of_a_variant_is_finite_positive_and_grows_with_the_steps(kind):
    small, large = (VARIANTS[kind]().price(Steps(pairs, 10, 20, 100, 1000, 10, 1e5)) for pairs in (5, 50))
    assert 0 < small < large < math.inf
