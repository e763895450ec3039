import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations.looped import Looped
from experiments.impro.distance import DistanceMeasure
from experiments.impro.distances import by_closed_form
from experiments.impro.measures import DistanceSpec
from tests.impro.toy import SIZES, Records, problem, values, watched


@pytest.fixture(scope="module")
def measured():
    one = problem()
    block = DistanceSpec(split="1", every=2, samples=None, exact=5)
    records = Records()
    with Workers(1) as workers:
        measure = DistanceMeasure(block, "fedavg", "task=toy", one, Looped(one.net), workers)
        watched(one, measure, records)
    return one, records.rounds, measure


def test_a_contribution_is_the_fall_of_the_others_loss(measured):
    one, rounds, measure = measured
    found, federation = values(measure.rows), one.federation
    record = rounds[1]
    for row, m in enumerate(record.participants):
        rows = [i for k in range(len(SIZES)) if k != m for i in range(*federation.offsets[k : k + 2])]
        x, y = federation.x[rows], federation.y[rows]
        before, after = (one.net.call(theta, x) for theta in (record.before, record.locals[row]))
        fall = (one.net.losses(before, y) - one.net.losses(after, y)).mean()
        subject = f"task=toy client=c{m}"
        assert found["contribution", subject, 2] == pytest.approx(float(fall), rel=1e-9)
        gain = 100 * float(((after.argmax(1) == y).double() - (before.argmax(1) == y).double()).mean())
        assert found["contribution_accuracy", subject, 2] == pytest.approx(gain)


def test_distances_of_features_are_taken_behind_the_block(measured):
    one, rounds, measure = measured
    found, federation = values(measure.rows), one.federation
    clients = [federation.of(k) for k in range(len(SIZES))]
    weight, bias = one.net.views(rounds[1].before)["0.weight"], one.net.views(rounds[1].before)["0.bias"]
    spaces = {"input": lambda x: x, "features": lambda x: torch.relu(x @ weight.T + bias)}
    for space, features in spaces.items():
        for m, wanted in enumerate(by_closed_form(clients, features, 3)):
            subject = f"task=toy client=c{m} space={space} how=gaussian"
            assert found["wasserstein", subject, 2] == pytest.approx(wanted.value, rel=1e-9)


def test_the_correlation_is_over_the_rounds_participants(measured):
    _, rounds, measure = measured
    found = values(measure.rows)
    clients = [f"task=toy client=c{m}" for m in rounds[2].participants]
    distance = [found["wasserstein", f"{c} space=features how=exact", 3] for c in clients]
    contribution = [found["contribution", c, 3] for c in clients]
    wanted = spearmanr(distance, contribution).statistic
    assert found["contribution_spearman", "task=toy space=features how=exact", 3] == pytest.approx(wanted)


def test_clients_without_a_distance_are_left_out_of_the_correlation(measured):
    one, rounds, _ = measured
    alone = DistanceMeasure(DistanceSpec(split="1"), "fedavg", "", one, Looped(one.net), None)
    contributions = {m: float(m) for m in rounds[0].participants}
    alone._correlate(rounds[0], [3.0, float("nan"), 1.0, 0.5], contributions, "input", "exact")
    found = {row["metric"]: (row["value"], row["n"]) for row in alone.rows}
    assert found["contribution_spearman"] == (pytest.approx(-1.0), 3)


def test_label_distances_are_halves_of_absolute_differences(measured):
    one, _, measure = measured
    counts = one.federation.label_counts().double()
    rest = counts.sum(0) - counts
    wanted = ((counts / counts.sum(1, keepdim=True) - rest / rest.sum(1, keepdim=True)).abs().sum(1) / 2).tolist()
    found = values(measure.rows)
    subjects = [f"task=toy client=c{m} space=labels how=discrete" for m in range(len(SIZES))]
    assert [found["wasserstein", subject, 1] for subject in subjects] == pytest.approx(wanted)


def test_rounds_that_are_not_due_have_no_rows_and_a_stopped_run_goes_on(measured):
    one, _, measure = measured
    assert {row["round"] for row in measure.rows} == {1, 2, 3}
    sparse = DistanceSpec(split="1", every=10)
    assert [t for t in range(1, 26) if sparse.due(t, 25)] == [1, 10, 20, 25]
    with Workers(1) as workers:
        other = DistanceMeasure(DistanceSpec(split="1"), "fedavg", "", one, Looped(one.net), workers)
    other.restore(measure.state())
    assert other.rows == measure.rows


def test_a_cap_looks_at_the_same_share_of_every_client(measured):
    _, _, measure = measured
    assert [len(rows) for rows in measure.looked_at(1, None)] == list(SIZES)
    assert [len(rows) for rows in measure.looked_at(1, 7)] == [12, 5, 7, 4]
    assert [rows.tolist() for rows in measure.looked_at(1, 7)] == [rows.tolist() for rows in measure.looked_at(1, 7)]
    assert not np.array_equal(measure.looked_at(1, 7)[0], measure.looked_at(2, 7)[0])
