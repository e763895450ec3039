"""What every score of samples must do: found, not listed."""

import math
from dataclasses import replace

import pytest
import torch

from experiments.core.estimators.method import known
from experiments.core.estimators.sample_score import SampleScore, Scored
from tests.core.estimators.sample_cases import convolutional, trail

SCORES = known(SampleScore)


@pytest.mark.parametrize("kind", SCORES)
def test_scores_are_finite_one_for_each_sample_and_the_same_at_every_call(kind):
    told = trail(convolutional(), checkpoints=4)
    scores = SCORES[kind]().scores(told)
    assert scores.shape == (11,) and scores.dtype == torch.float64 and scores.device.type == "cpu"
    assert not scores.requires_grad and (scores >= 0).all() and scores.any()
    assert torch.equal(SCORES[kind]().scores(told), scores)


@pytest.mark.parametrize("kind", SCORES)
def test_a_score_does_not_depend_on_the_other_samples_of_a_pass(kind):
    told, order = trail(convolutional(), checkpoints=4), torch.randperm(11, generator=torch.Generator().manual_seed(2))
    whole = SCORES[kind]().scores(told)
    small = replace(told, x=told.x[order], y=told.y[order])
    vars(small)["chunk"] = 3  # a cached property
    torch.testing.assert_close(SCORES[kind]().scores(small), whole[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", SCORES)
def test_progress_rises_to_the_end(kind):
    told, seen = trail(convolutional(), checkpoints=4), []
    vars(told)["chunk"] = 4
    SCORES[kind]().scores(told, lambda done, total: seen.append((done, total)))
    done, totals = zip(*seen, strict=True)
    assert sorted(done) == list(done) and done[-1] == totals[-1] and len(set(totals)) == 1


@pytest.mark.parametrize("kind", SCORES)
def test_states_and_inputs_stay_as_they_were(kind):
    told = trail(convolutional(), checkpoints=4)
    states, x = told.states.clone(), told.x.clone()
    SCORES[kind]().scores(told)
    assert torch.equal(told.states, states) and torch.equal(told.x, x) and not told.x.requires_grad


@pytest.mark.parametrize("kind", SCORES)
def test_the_price_of_a_score_is_finite_positive_and_grows_with_the_samples(kind):
    small, large = (SCORES[kind]().price(Scored(n, 10, 1000, 1e6)) for n in (10, 100))
    assert 0 < small < large < math.inf
    assert 1 <= SCORES[kind]().reads(10) <= 10
