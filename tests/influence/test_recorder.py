"""Rows of a tiny run against scipy, against plain evaluation, and against each other."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import load
from experiments.core.engine.worlds import leave_one_out
from experiments.core.estimators.numerics.fed_influence import FedInfluence
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.influence import cells as module
from experiments.influence.recorder import Recorder, ranking_variant
from tests.toys import federated as tiny

VARIANTS = ("basic", "lwet_fisher")


def clients(frame, method, metric, t):
    rows = frame[(frame["method"] == method) & (frame["metric"] == metric) & (frame["round"].astype(str) == str(t))]
    return pd.Series(rows["value"].to_numpy(), rows["subject"].str.removeprefix("client=").astype(int)).sort_index()


@pytest.mark.parametrize("t", [3, 4, 6])
@pytest.mark.parametrize("method", VARIANTS)
@pytest.mark.parametrize("metric", ["fil", "fia"])
def test_correlations_are_scipy_s_on_the_rows(run, method, metric, t):
    estimate, exact = clients(run[1], method, metric, t), clients(run[1], "exact", metric, t)
    assert list(estimate.index) == list(exact.index) == list(range(20))
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        found = tiny.value(run[1], method=method, metric=f"{name}_{metric}", round=t)
        assert found == pytest.approx(float(function(estimate, exact).statistic), rel=1e-5)
        assert abs(found) < 1 - 1e-9  # neither trivial


def test_intervals_belong_to_the_last_round_and_hold_the_value(run):
    frame = run[1]
    bounds = frame[frame["metric"].str.match(r"(pearson|spearman)_fi[la]_(low|high)")]
    assert set(bounds["round"].astype(int)) == {6} and len(bounds) == 2 * 2 * 2 * 2
    for method in VARIANTS:
        low, value, high = (
            tiny.value(frame, method=method, metric=f"pearson_fil{end}", round=6) for end in ("_low", "", "_high")
        )
        assert low < value < high
        reach = 1.959963984540054 / math.sqrt(20 - 3)
        assert np.arctanh([low, high]) == pytest.approx(np.arctanh(value) + np.array([-reach, reach]), rel=1e-6)


def test_the_rounds_that_are_written_down(run):
    frame = run[1]
    at = lambda **keys: sorted(set(frame.loc[(frame[list(keys)] == pd.Series(keys)).all(axis=1), "round"].astype(int)))  # noqa: E731
    assert at(method="base", metric="loss") == [2, 3, 4, 6]  # every second, the ranking grid, x and the last
    assert at(method="exact", metric="fil") == at(method="basic", metric="fia") == [3, 4, 6]
    assert at(method="lwet_fisher", metric="pearson_fil") == [2, 3, 4, 6]


@pytest.fixture(scope="module")
def redone(run, tmp_path_factory):
    """The same run by hand, with everything in view."""
    spec = tiny.loaded(run[0], "smoke")
    built = build(spec, 0, Context(tmp_path_factory.mktemp("redone")))
    p, counted = built.problem, list(range(20))
    columns, kind = module._columns(spec, counted, 20), formulations()["looped"](p.net)
    with Workers(1) as workers:
        estimator = FedInfluence(p.net, p.federation, columns, spec.gradients, 0, workers)
        tracked = module._tracked(spec, p.federation, 0, counted)
        recorder = Recorder(spec, p, estimator, columns, counted, tracked, kind, workers)
        states = simulate(p, leave_one_out(counted), built.start, kind, observers=[estimator, recorder])
    return p, estimator, recorder, states, tracked


def scores(p, state):
    with torch.no_grad():
        z = load(p.net, state).eval()(p.federation.test_x)
    y = p.federation.test_y
    return float(torch.nn.functional.cross_entropy(z, y)), 100 * float((z.argmax(1) == y).double().mean())


def test_estimated_influence_is_the_change_of_the_test_loss_by_the_estimated_change(run, redone):
    """Eq. 6, with a model of its own for every client."""
    p, estimator, _, states, _ = redone
    base = scores(p, states[0])
    for method in VARIANTS:
        for metric, place in (("fil", 0), ("fia", 1)):
            found = clients(run[1], method, metric, 6)
            for c, change in enumerate(estimator.change(method)):
                expected = scores(p, states[0] + change)[place] - base[place]
                assert found[c] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_norms_and_errors_of_the_tracked_client_and_the_median(run, redone):
    p, estimator, _, states, tracked = redone
    frame, exact = run[1], states[1:] - states[0]
    assert tiny.value(frame, metric="tracked_client") == tracked
    error = estimator.change("lwet_fisher") - exact
    for slot in p.net.params:
        part = error[tracked, slot.start : slot.stop].norm()
        found = tiny.value(frame, method="lwet_fisher", metric="fip_error", subject=f"tensor={slot.name}", round=6)
        assert found == pytest.approx(float(part), rel=1e-6)
    whole = {"fip_error": error, "fip_norm": estimator.change("lwet_fisher")}
    for metric, vectors in whole.items():
        found = tiny.value(frame, method="lwet_fisher", metric=metric, subject="tensors=all", round=6)
        assert found == pytest.approx(float(vectors[tracked].norm()), rel=1e-6)
        median = tiny.value(frame, method="lwet_fisher", metric=f"{metric}_median", round=6)
        assert median == pytest.approx(float(torch.median(vectors.norm(dim=1))), rel=1e-6)
    found = tiny.value(frame, method="exact", metric="fip_norm", subject="tensors=all", round=6)
    assert found == pytest.approx(float(exact[tracked].norm()), rel=1e-6)


def test_a_client_that_never_took_part_has_no_influence(run, redone):
    p = redone[0]
    absent = set(range(20)) - {k for drawn in p.schedule for k in drawn}
    early = set(range(20)) - {k for drawn in p.schedule[:3] for k in drawn}
    assert early
    for t, names in ((3, early), (6, absent)):
        for method in (*VARIANTS, "exact"):
            found = clients(run[1], method, "fil", t)
            assert all((found[c] == 0) == (c in names) for c in range(20))


def test_the_ranking_of_the_cleansing_round_is_what_stands_in_the_rows(run, redone):
    recorder = redone[2]
    ranking = dict(zip(recorder.ranking["clients"].tolist(), recorder.ranking["fil"].tolist(), strict=True))
    found = clients(run[1], "lwet_fisher", "fil", 4)
    assert [ranking[c] for c in range(20)] == pytest.approx(found.tolist(), rel=1e-6, abs=1e-12)
    assert set(recorder.state()) == {"rows", "ranking", "base_at_x"}


@pytest.mark.parametrize(
    ("variants", "ranked"),
    [
        (["basic", "lwet_fisher", "fisher"], "lwet_fisher"),
        (["basic", "fisher"], "fisher"),
        (["fisher", "lwet"], "lwet"),
    ],
)
def test_who_ranks(tmp_path, variants, ranked):
    assert ranking_variant(tiny.loaded(tiny.write(tmp_path, variants=variants))) == ranked
