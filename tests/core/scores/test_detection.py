import numpy as np
import pytest

from experiments.core.scores.detection import auroc


def test_the_area_is_the_share_of_right_pairs_ties_counting_half():
    scores, positive = [0.9, 0.4, 0.4, 0.1, 0.6], [True, True, False, False, False]
    assert auroc(scores, positive).value == pytest.approx((3 + 1 + 0.5) / 6)
    flipped = auroc(np.negative(scores), positive)
    assert flipped.value == pytest.approx(1 - 4.5 / 6) and flipped.n == 5


def test_the_interval_holds_what_many_samples_show():
    rng, inside = np.random.default_rng(0), 0
    truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2))
    for _ in range(200):
        found = auroc(np.concatenate([rng.normal(1, 1, 20), rng.normal(0, 1, 80)]), np.arange(100) < 20)
        inside += found.low <= truth <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_the_interval_of_an_example_by_hand():
    found = auroc([3.0, 1.0, 2.0, 0.0], [True, True, False, False])
    a, q1, q2 = 0.75, 0.75 / 1.25, 2 * 0.75**2 / 1.75
    half = 1.959964 * np.sqrt((a * (1 - a) + (q1 - a * a) + (q2 - a * a)) / 4)
    assert (found.value, found.low, found.high) == pytest.approx((a, max(0, a - half), 1.0), abs=1e-6)


def test_one_kind_alone_has_no_area_and_bad_scores_are_refused():
    assert np.isnan(auroc([1.0, 2.0], [True, True]).value)
    with pytest.raises(ValueError, match="finite"):
        auroc([1.0, np.nan], [True, False])
