"""Training goes on without samples: each world against a plain loop over the samples that it keeps."""

import numpy as np
import pytest
import torch

from experiments.core.engine.dpsgd import plain_gradient
from experiments.core.engine.draws import step_seed
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.scores.per_class import scaled
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context, Row
from experiments.vog.cells import compute
from tests.vog.toy import spec

REMOVAL = {"share": 0.25, "after": 2, "random": 2}
PRIVATE = {"kind": "sgd", "clip": 0.5, "noise": 0.4}


def run(folder, own, seed=0, **more):
    folder.mkdir(exist_ok=True)
    rows = compute(own, "", seed, Context(folder, **more))
    return {(r["method"], r["metric"], r["subject"]): r for r in rows if r["metric"] not in ("test_loss",)}


def worlds(rows: dict[tuple[str, str, str], Row], metric: str) -> dict[tuple[str, str, str], float]:
    """(method, pick, draw) -> value."""
    found = {}
    for (method, name, subject), row in rows.items():
        if name == metric:
            about = dict(word.split("=") for word in subject.split())
            found[method, about["pick"], about["draw"]] = row["value"]
    return found


class Plain:
    """The training, one sample after another, without the engine's rounds, worlds and weights."""

    def __init__(self, folder, own, seed=0):
        self.problem = build(own, seed, Context(folder)).problem
        self.net, self.data = self.problem.net, self.problem.federation

    def train(self, theta, rounds, gone=frozenset()):
        """The state after `rounds`, without the samples `gone`."""
        left = len(self.data.y) - len(gone)
        for t in rounds:
            for step, batch in enumerate(self.problem.batches(0, t)):
                rows = [int(i) for i in batch if int(i) not in gone]
                theta = theta - 0.02 * self.gradient(theta, rows, step_seed(0, client=0, round=t, step=step), left)
        return theta

    def gradient(self, theta, rows, named, left):
        x, y, net = self.data.x[rows], self.data.y[rows], self.net
        if self.problem.mechanism is not None:
            expected = left * 32 / len(self.data.y)
            torch.nn.utils.vector_to_parameters(theta, net.module.parameters())
            return plain_gradient(net, net.module, x, y, self.problem.mechanism, expected, named)
        if not rows:
            return torch.zeros_like(theta)
        theta = theta.clone().requires_grad_()
        return torch.autograd.grad(net.losses(net.call(theta, x), y).mean(), theta)[0]

    def losses(self, theta, x, y):
        with torch.no_grad():
            return self.net.losses(self.net.call(theta, x), y)

    def accuracy(self, theta, x, y):
        with torch.no_grad():
            return 100 * float((self.net.call(theta, x).argmax(1) == y).double().mean())


@pytest.mark.parametrize("privacy", [None, PRIVATE], ids=["plain", "private"])
def test_a_world_is_training_on_with_the_same_batches_less_its_samples(tmp_path, privacy):
    own = spec(removal=REMOVAL, methods=["loss"], privacy=privacy)
    rows = run(tmp_path / "cell", own)
    plain = Plain(tmp_path, own)
    warm = plain.train(plain.net.flat(), [1, 2])
    x, y, n = plain.data.x, plain.data.y, len(plain.data.y)
    loss = plain.losses(warm, x, y).numpy()
    order = np.argsort(scaled(loss, y.numpy(), "minmax")[0])
    assert len({loss[i] for i in range(n)}) == n, "ties would make the order a choice"
    count = round(0.25 * n)
    gone = {
        ("none", "none", "0"): [],
        ("random", "random", "0"): stream(0, "removal", draw=0).permutation(n)[:count],
        ("random", "random", "1"): stream(0, "removal", draw=1).permutation(n)[:count],
        ("loss", "highest", "0"): order[::-1][:count],
        ("loss", "lowest", "0"): order[:count],
    }
    found = {metric: worlds(rows, f"removal_{metric}") for metric in ("loss", "accuracy", "train_accuracy")}
    assert {key for metric in found.values() for key in metric} == set(gone)
    for key, out in gone.items():
        out = frozenset(int(i) for i in out)
        theta = plain.train(warm, [3, 4], out)
        left = [i for i in range(n) if i not in out]
        test = (plain.data.test_x, plain.data.test_y)
        assert found["loss"][key] == pytest.approx(float(plain.losses(theta, *test).mean()), rel=1e-9), key
        assert found["accuracy"][key] == pytest.approx(plain.accuracy(theta, *test)), key
        assert found["train_accuracy"][key] == pytest.approx(plain.accuracy(theta, x[left], y[left])), key


def test_without_removal_the_run_ends_as_it_did(tmp_path):
    rows = run(tmp_path, spec(removal=REMOVAL))
    ends = [row["value"] for (method, metric, _), row in rows.items() if (method, metric) == ("train", "test_accuracy")]
    assert worlds(rows, "removal_accuracy")["none", "none", "0"] == ends[-1]
    losses = worlds(rows, "removal_loss")
    assert losses["none", "none", "0"] == rows["base_model", "base_loss", ""]["value"]
    assert len(set(losses.values())) == len(losses) == 1 + 2 + 2 * 2


def test_the_warm_up_alone_decides_who_goes(tmp_path):
    """A longer training after the warm-up has other final scores, and leaves out the same samples."""
    chosen = []
    for rounds in (4, 6):
        own = spec(removal=REMOVAL, rounds=rounds)
        (tmp_path / str(rounds)).mkdir()
        context = Context(tmp_path / str(rounds))
        compute(own, "", 0, context)
        from experiments.core.study.federated import checkpoint

        chosen.append(checkpoint(own, context, "removal-vog").load()["scores"])
    assert torch.equal(*chosen)


def test_random_samples_are_others_for_another_seed_and_draw(tmp_path):
    draws = [worlds(run(tmp_path / str(seed), spec(removal=REMOVAL), seed), "removal_loss") for seed in (0, 1)]
    losses = [found["random", "random", draw] for found in draws for draw in ("0", "1")]
    assert len(set(losses)) == 4


def test_a_class_without_a_sample_is_told_and_training_goes_on(tmp_path):
    """With a tenth of the samples left some classes have none."""
    warned = []
    own = spec(removal={"share": 0.9, "after": 2, "random": 3}, local={"lr": 0.02, "epochs": 1, "batch_size": 4})
    rows = run(tmp_path, own, warn=warned.append)
    emptied = [line for line in warned if "no sample of class" in line]
    classes = worlds(rows, "classes_left")
    assert classes["none", "none", "0"] == 10
    assert len(emptied) == sum(count < 10 for count in classes.values()) > 0


@pytest.mark.parametrize(
    ("removal", "local", "said"),
    [
        ({"share": 0.95}, {}, "0.95 of 359 samples leaves 18, less than a batch of 32"),
        ({"share": 0.0001}, {}, "0.0001 of 359 samples is none"),
        ({"share": 0.9975}, {"batch_size": 1}, "only one class is left"),
    ],
    ids=str,
)
def test_too_little_left_is_refused(tmp_path, removal, local, said):
    own = spec(removal={"after": 2, "random": 1, **removal}, local={"lr": 0.02, "epochs": 1, "batch_size": 32, **local})
    with pytest.raises(SpecError, match=said) as fault:
        run(tmp_path, own)
    assert "removal.share" in str(fault.value.where)


def test_a_client_without_a_sample_is_told(tmp_path):
    warned = []
    own = spec(
        data={"kind": "sklearn_digits", "outputs": 10, "copies": 1, "train_fraction": 0.1, "clients": 10},
        partition={"kind": "iid", "clients": 60, "split_seed": 0},
        clients_per_round=60, removal={"share": 0.7, "after": 2, "random": 1},
        local={"lr": 0.02, "epochs": 1, "batch_size": 3},
    )  # fmt: skip
    run(tmp_path, own, warn=warned.append)
    assert any("no sample of client" in line for line in warned)


def test_constant_scores_take_nobody_away(tmp_path):
    """Forgetting counts of a model that never learns are all zero: row numbers would decide whom they remove."""
    logged = []
    own = spec(removal=REMOVAL, methods=["forgetting", "loss"], local={"lr": 1e-9, "epochs": 1, "batch_size": 32})
    rows = run(tmp_path, own, log=logged.append)
    assert {method for method, *_ in worlds(rows, "removal_loss")} == {"none", "random", "loss"}
    assert any("removal by forgetting: 0 samples have a scaled score, 90 are to go" in line for line in logged)
