import pytest

from experiments.core.engine.halves import Halves
from experiments.impro.gradients import mean_gradient
from experiments.impro.measures import VarianceSpec
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
            for way in ("shared", "balanced", "own")
        }
        assert left["shared"] == pytest.approx(bound, abs=1e-9)
        assert left["own"] > bound
        for way in left:
            low = found["variance_ratio", f"part=low objective=decoupled sampled={way} over={over}", 1]
            assert low == pytest.approx(1, abs=1e-9)
            summed = found["variance_ratio", f"part=high objective=summed sampled=shared over={over}", 1]
            assert summed == pytest.approx(1, abs=1e-9)


def test_only_over_clients_where_single_samples_are_not_asked_for():
    _, _, found = _measured(per_sample=False)
    assert {t for _, _, t in found} == {1, 2, 3}
    assert not [subject for _, subject, _ in found if "over=samples" in subject]
