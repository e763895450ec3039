"""What one gets without looking at an input, against scikit-learn's dummies."""

import math

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss

from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net
from experiments.core.scores.baseline import Baseline, baseline


def federation(y, test_y, classes):
    n = len(y)
    return Federation(
        torch.zeros(n, 2), y, (0, n // 3, n), torch.zeros(len(test_y), 2), test_y, ("a", "b"), classes, "toy"
    )  # fmt: skip


def net(loss, classes):
    return Net.of(torch.nn.Linear(2, classes), loss)


@pytest.mark.parametrize("seed", range(4))
def test_classes_under_both_losses(seed):
    rng = np.random.default_rng(seed)
    y, test_y = (rng.choice(4, n, p=[0.1, 0.2, 0.3, 0.4] if seed % 2 else [0.5, 0.1, 0.3, 0.1]) for n in (200, 90))
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((200, 1)), y)
    x = np.zeros((90, 1))
    f = federation(torch.tensor(y), torch.tensor(test_y), 6)  # a model may have outputs that no label takes
    found = baseline(net("cross_entropy", 6), f)
    assert found.label == dummy.predict(x)[0] and found.accuracy == pytest.approx(dummy.score(x, test_y))
    assert found.loss == pytest.approx(log_loss(test_y, dummy.predict_proba(x), labels=range(4)), rel=1e-12)
    hot, test_hot = (torch.eye(6, dtype=torch.float64)[labels] for labels in (y, test_y))
    squared = baseline(net("squared", 6), federation(hot, test_hot, 6))
    mean = DummyRegressor().fit(np.zeros((200, 1)), hot).predict(x)
    assert squared.loss == pytest.approx(0.5 * ((mean - test_hot.numpy()) ** 2).sum(1).mean(), rel=1e-12)
    assert (squared.label, squared.accuracy) == (found.label, found.accuracy)


def test_a_number_to_predict_has_a_mean_and_no_class():
    y, test_y = torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([[1.0], [5.0]])
    found = baseline(net("squared", 1), federation(y, test_y, 1))
    assert found.loss == pytest.approx((2.0**2 + 2.0**2) / 4) and math.isnan(found.accuracy)
    assert found.beats(1.99, 0.0) == [] and found.beats(2.01, 1.0) == ["loss"]


def test_a_class_that_training_lacks_costs_everything():
    found = baseline(net("cross_entropy", 3), federation(torch.tensor([0, 0, 1]), torch.tensor([0, 2]), 3))
    assert (found.label, found.accuracy, found.loss) == (0, 0.5, math.inf)


@pytest.mark.parametrize(
    ("loss", "accuracy", "beaten"),
    [(0.6, 0.8, ""), (0.7, 0.8, ""), (0.71, 0.8, "loss"), (0.6, 0.75, "accuracy"), (0.6, 0.7, "accuracy"),
     (0.8, 0.7, "accuracy loss"), (math.nan, 0.9, "loss"), (0.6, math.nan, "accuracy")],
)  # fmt: skip
def test_when_a_model_is_no_better(loss, accuracy, beaten):
    assert Baseline(1, 0.75, 0.7).beats(loss, accuracy) == beaten.split()
