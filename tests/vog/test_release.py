"""The block `release`: what comes out at a huge epsilon, by hand, what is spent in all, and what is refused."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from experiments.core.errors import SpecError
from experiments.core.scores.per_class import scaled
from experiments.core.study.federated import build, checkpoint
from experiments.core.sweep.cell import Context
from experiments.vog import release
from experiments.vog.cells import compute
from experiments.vog.stored import FILE
from tests.vog.test_truth import iris, value
from tests.vog.toy import spec

HUGE = 1e12
PRIVATE = {"kind": "sgd", "clip": 1.0, "noise": 2.0, "delta": 1e-4, "accountant": "rdp"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    more = {
        "release": {"epsilons": [2.0, HUGE], "clips": {"loss": 50.0}},
        "privacy": PRIVATE,
        "methods": ["vog", "loss"],
    }
    context = Context(folder)
    one = spec(**more)
    return one, compute(one, "eps=4", 0, context), np.load(folder / release.FILE), np.load(folder / FILE), folder


def test_without_noise_the_loss_is_itself(measured):
    _, rows, released, scores, _ = measured
    loss = scores["raw"][list(scores["methods"]).index("loss")]
    assert released[f"loss_{HUGE:g}"] == pytest.approx(loss, abs=1e-6)
    assert value(rows, "loss", "release_spearman", f"eps=4 release={HUGE:g}") == pytest.approx(1, abs=1e-9)
    assert value(rows, "loss", "release_overlap", f"eps=4 release={HUGE:g}") == 25
    assert value(rows, "loss", "release_clip", "eps=4 how=public") == 50


def test_the_correlation_is_that_of_scores_scaled_within_classes(measured):
    _, rows, released, scores, _ = measured
    loss = scores["raw"][list(scores["methods"]).index("loss")]
    a, b = (scaled(values, scores["labels"], "minmax")[0] for values in (loss, released["loss_2"]))
    found = value(rows, "loss", "release_spearman", "eps=4 release=2")
    assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-6) and found < 0.9


def test_without_noise_vog_is_the_root_of_the_mean_variance_of_clipped_gradients(measured):
    """By autograd, sample by sample, with the clip that the cell tells."""
    one, rows, released, _, folder = measured
    clip = value(rows, "vog", "release_clip", "eps=4 how=quantile")
    context = Context(folder)
    problem = build(one, 0, context).problem
    states = [checkpoint(one, context, f"state-{t:05d}").load()["state"] for t in one.kept()]
    for i in (0, 7, 100):
        maps = []
        for state in states:
            x = problem.federation.x[i : i + 1].clone().requires_grad_()
            loss = problem.net.losses(problem.net.call(state, x), problem.federation.y[i : i + 1]).sum()
            maps.append(torch.autograd.grad(loss, x)[0][0].reshape(-1).clamp(-clip, clip).numpy())
        assert released[f"vog_{HUGE:g}"][i] == pytest.approx(np.sqrt(np.var(maps, axis=0).mean()), rel=1e-5)
    every = np.sort(np.abs(np.concatenate([gradients(problem, s) for s in states])).ravel())
    assert clip == pytest.approx(every[int(np.ceil(0.95 * len(every))) - 1], rel=1e-9)


def gradients(problem, state):
    x = problem.federation.x.clone().requires_grad_()
    loss = problem.net.losses(problem.net.call(state, x), problem.federation.y).sum()
    return torch.autograd.grad(loss, x)[0].numpy()


def test_training_and_release_compose(measured):
    rows = measured[1]
    spent = value(rows, "privacy", "epsilon", "eps=4")
    assert value(rows, "privacy", "release_epsilon", "eps=4 release=2") == pytest.approx(spent + 2)
    assert value(rows, "privacy", "release_delta", "eps=4 release=2") == 1e-4


def test_released_scores_meet_the_truth_too_and_nothing_is_guaranteed_without_private_training(tmp_path):
    more = {"release": {"epsilons": [HUGE], "quantile": 1.0}, "methods": ["loss"]}
    rows = compute(iris(**more), "", 0, Context(tmp_path))
    own = {r["subject"]: r["value"] for r in rows if r["method"] == "loss" and r["metric"] == "truth_spearman"}
    plain = {subject: found for subject, found in own.items() if "release" not in subject}
    assert plain and len(own) == 2 * len(plain)
    for subject, found in plain.items():
        assert own[f"{subject} release={HUGE:g}"] == pytest.approx(found, abs=1e-6)
    assert not [row for row in rows if row["metric"] == "release_epsilon"]


def test_a_clip_for_a_method_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"no method 'plis' is computed; release\.clips; known: loss"):
        compute(spec(release={"clips": {"plis": 1.0}}, methods=["loss"]), "", 0, Context(tmp_path))
