import pytest
import torch

from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.engine.halves import Halves
from experiments.impro.gradients import mean_gradient
from experiments.impro.measures import VarianceSpec
from experiments.impro.sampled import FeatureDistribution, held_by
from experiments.impro.variance import VarianceMeasure
from tests.impro.toy import SIZES, Records, problem, values, watched


def _measured(**more):
    one, records = problem(), Records()
    measure = VarianceMeasure(VarianceSpec(split="1", every=2, **more), "fedavg", "", one)
    watched(one, measure, records)
    return one, records.rounds, values(measure.rows)


def test_the_plain_variance_is_that_of_the_clients_gradients_at_the_state_before_training():
    one, rounds, found = _measured(samples=None)
    theta, net = rounds[1].before, one.net
    gradients = [mean_gradient(net, theta, *one.federation.of(k)) for k in range(len(SIZES))]
    mean = sum(n * g for n, g in zip(SIZES, gradients, strict=True)) / sum(SIZES)
    high = Halves.of(net, "1", one.federation.x).high(theta, theta.new_zeros(1, 8))
    for part, columns in (("low", ~high), ("high", high)):
        wanted = sum(n * (g - mean)[columns].square().sum() for n, g in zip(SIZES, gradients, strict=True)) / sum(SIZES)
        subject = f"part={part} objective=plain over=clients"
        assert found["gradient_variance", subject, 2] == pytest.approx(float(wanted), rel=1e-9)
        relative = float(wanted / mean[columns].square().sum())
        assert found["relative_variance", subject, 2] == pytest.approx(relative, rel=1e-9)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_shared_draws_meet_the_bound_and_own_labels_do_not(ratio):
    _, _, found = _measured(samples=None, ratio=ratio)
    bound = found["variance_bound", "part=high", 1]
    assert bound == pytest.approx((1 / (1 + ratio)) ** 2)
    for over in ("clients", "samples"):
        left = {
            way: found["variance_ratio", f"part=high objective=decoupled sampled={way} over={over}", 1]
            for way in ("shared", "balanced", "labels", "local")
        }
        assert left["shared"] == pytest.approx(bound, abs=1e-9)
        assert left["labels"] > bound
        for way in left:
            low = found["variance_ratio", f"part=low objective=decoupled sampled={way} over={over}", 1]
            assert low == pytest.approx(1, abs=1e-9)
            summed = found["variance_ratio", f"part=high objective=summed sampled=shared over={over}", 1]
            assert summed == pytest.approx(1, abs=1e-9)


def test_only_over_clients_where_single_samples_are_not_asked_for():
    _, _, found = _measured(per_sample=False)
    assert {t for _, _, t in found} == {1, 2, 3}
    assert not [subject for _, subject, _ in found if "over=samples" in subject]


def test_fedimpros_own_statistics_are_used_where_it_has_them():
    one = problem(algorithm=FedImpro(split="1", preset="paper"), rounds=2)
    records, checked = Records(), []
    halves = Halves.of(one.net, "1", one.federation.x)

    class Watch(Records):
        def observe(self, record):
            checked.append((held_by(one, record, "1"), held_by(one, record, "0"), record))

    watched(one, records, Watch())
    start = one.algorithm.init(one.net.flat(), one.setup).server[0].view(2, 3, 8)
    h, other_block, _ = checked[0]
    assert torch.equal(h.mean, start[0])
    torch.testing.assert_close(h.deviation, start[1].sqrt())
    assert other_block is None
    sent = (checked[0][2].uploads[:, one.net.size :]).mean(0).view(2, 3, 8)  # each client alike (Eq. 7)
    torch.testing.assert_close(checked[1][0].mean, 0.9 * start[0] + 0.1 * sent[0])
    assert held_by(problem(), records.rounds[0], halves.path) is None


def test_a_clients_own_statistics_stand_in_for_the_classes_it_holds():
    h = FeatureDistribution(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([True, True]))
    own = FeatureDistribution(torch.full((2, 3), 5.0), torch.full((2, 3), 0.5), torch.tensor([False, True]))
    mixed = h.with_own(own, 0.2)
    assert mixed.mean.tolist() == [[0.0] * 3, [5.0] * 3]
    torch.testing.assert_close(mixed.deviation, torch.tensor([[1.0] * 3, [0.2] * 3]))
