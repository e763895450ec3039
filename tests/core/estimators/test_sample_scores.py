"""Scores of samples against closed forms, sample-by-sample autograd and tables made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators.el2n import El2nScore
from experiments.core.estimators.forgetting import ForgettingScore
from experiments.core.estimators.grad_norm import GradNormScore
from experiments.core.estimators.grand import GrandScore
from experiments.core.estimators.loss import LossScore
from experiments.core.estimators.numerics.sample_passes import forgotten
from experiments.core.estimators.numerics.vog import vog_one_by_one
from experiments.core.estimators.vog import VogScore
from tests.core.estimators.sample_cases import CLASSES, IMAGE, convolutional, flat, linear, trail

TARGETS = ("loss", "logit", "probability")


def close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-13)


def softmax_regression(theta, x, target, label):
    """The gradient in the input of a softmax regression, in closed form: [72]."""
    weight, bias = theta[:216].reshape(CLASSES, 72), theta[216:]
    logits = weight @ x.ravel() + bias
    p = np.exp(logits - logits.max())
    p /= p.sum()
    onehot = np.eye(CLASSES)[label]
    return {
        "loss": weight.T @ (p - onehot),
        "logit": weight[label],
        "probability": p[label] * (weight[label] - weight.T @ p),
    }[target]


@pytest.mark.parametrize("target", TARGETS)
def test_vog_of_a_softmax_regression_has_a_closed_form(target):
    told = trail(linear(), checkpoints=4)
    wanted = []
    for x, label in zip(told.x.numpy(), told.y.tolist(), strict=True):
        gradients = [softmax_regression(theta, x, target, label) for theta in told.states.numpy()]
        images = np.stack(gradients).reshape(4, *IMAGE).mean(1)
        wanted.append(np.sqrt(((images - images.mean(0)) ** 2).mean(0)).mean())
    close(VogScore(target=target).scores(told), wanted)


@pytest.mark.parametrize("target", TARGETS)
def test_vog_of_a_net_with_dropout_and_running_statistics_is_that_of_one_sample_after_another(target):
    told = trail(convolutional())
    close(VogScore(target=target).scores(told), vog_one_by_one(told, target))


def test_vog_of_inputs_that_are_no_images_keeps_every_feature():
    told = trail(flat(), shape=(4,))
    close(VogScore().scores(told), vog_one_by_one(told))
    first = [torch.func.grad(loss, 2)(told, 0, told.x[0], k) for k in range(3)]
    close(VogScore().scores(told)[0], torch.stack(first).std(0, correction=0).mean())


def loss(told, i, x, k=-1):
    return nn.functional.cross_entropy(told.net.call(told.states[k], x[None]), told.y[i : i + 1])


def test_vog_of_equal_checkpoints_is_zero_and_the_last_ones_can_be_asked_for():
    told = trail(convolutional(), checkpoints=5)
    assert VogScore().scores(replace(told, states=told.states[:1].repeat(3, 1))).abs().max() < 1e-15
    late = replace(told, states=told.states[-2:], steps=(4, 5))
    close(VogScore(last=2).scores(told), VogScore().scores(late))
    assert VogScore(last=2).scores(told).ne(VogScore().scores(told)).all()


def test_channels_are_averaged_before_the_variance():
    told = trail(linear(), checkpoints=2)
    weight = told.states[:, :216].view(2, CLASSES, *IMAGE)
    weight[1, :, 0], weight[1, :, 1] = weight[0, :, 0] + 1, weight[0, :, 1] - 1  # gone in the mean over channels
    assert VogScore(target="logit").scores(told).max() < 1e-15


def test_the_gradient_norms_are_those_of_one_sample_after_another():
    told = trail(convolutional())
    for score, at in ((GradNormScore(), -1), (GrandScore(), 0), (GrandScore(at=2), 1)):
        wanted = []
        for x, y in zip(told.x, told.y, strict=True):
            theta = told.states[at].clone().requires_grad_()
            outputs = told.net.call(theta, x[None])
            wanted.append(torch.autograd.grad(nn.functional.cross_entropy(outputs, y[None]), theta)[0].norm())
        close(score.scores(told), torch.stack(wanted))


def test_loss_and_error_of_probabilities_by_hand():
    told = trail(flat(), shape=(4,))
    close(LossScore().scores(told), torch.stack([loss(told, i, x) for i, x in enumerate(told.x)]).detach())
    for at in (1, 3):
        p = told.net.call(told.states[at - 1], told.x).softmax(1).numpy()
        wanted = [np.linalg.norm(row - np.eye(CLASSES)[y]) for row, y in zip(p, told.y, strict=True)]
        close(El2nScore(at=at).scores(told), wanted)


def test_forgetting_on_a_table_by_hand():
    right = torch.tensor(
        [  # never forgotten, once, twice, learnt late, never right, always right
            [0, 1, 1, 0, 0, 1],
            [1, 0, 0, 0, 0, 1],
            [1, 0, 1, 0, 0, 1],
            [1, 1, 0, 1, 0, 1],
        ]
    )
    assert forgotten(right).tolist() == [0, 1, 2, 0, 3, 0]


def test_forgetting_counts_what_the_model_says():
    scale = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    net = Net.of(nn.Linear(1, 2, bias=False).double())
    states = torch.cat([scale, -scale], 1)  # the first class where scale * x > 0
    told = replace(trail(flat(), shape=(4,)), net=net, states=states, steps=(1, 2, 3, 4), classes=2)
    told = replace(told, x=torch.tensor([[1.0], [-1.0]], dtype=torch.float64), y=torch.tensor([0, 0]))
    assert ForgettingScore().scores(told).tolist() == [2, 1]


@pytest.mark.parametrize("score", [VogScore(), ForgettingScore()])
def test_one_checkpoint_is_too_few_for_what_compares_them(score):
    with pytest.raises(SpecError, match="at least 2 checkpoints, the run has 1; every; raise `rounds`, or lower"):
        score.scores(trail(flat(), checkpoints=1, shape=(4,)))


def test_checkpoints_that_are_not_there_are_refused():
    told = trail(flat(), shape=(4,))
    with pytest.raises(SpecError, match=r"el2n reads checkpoint 4 of 3; methods.el2n.at; lower it to at most 3"):
        El2nScore(at=4).scores(told)
    with pytest.raises(SpecError, match=r"vog reads the last 4 of 3 checkpoints; methods.vog.last"):
        VogScore(last=4).scores(told)


def test_tokens_have_no_gradient_in_the_input():
    net = Net.of(nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 3)).double())
    told = replace(trail(flat(), shape=(4,)), net=net, states=net.flat().detach()[None].repeat(2, 1), steps=(1, 2))
    told = replace(told, x=torch.arange(22).view(11, 2) % 7)
    with pytest.raises(SpecError, match="no gradient in an input of tokens; methods; take methods without"):
        VogScore().scores(told)
    assert El2nScore().scores(told).shape == (11,)


def test_a_diverged_model_is_named():
    told = trail(flat(), shape=(4,))
    with pytest.raises(NumericalError, match="loss: the scores of 11 of 11 samples are not finite"):
        LossScore().scores(replace(told, states=told.states * float("nan")))
