"""From a spec to a problem: what a seed may change and what not, and what is refused."""

import copy
import json
import sys

import pytest
import torch

from experiments.core.algorithms.fedprox import FedProx
from experiments.core.engine.net import initialise
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.schedule import draw_schedule
from experiments.core.errors import MissingError, SpecError
from experiments.core.study.federated import build, checkpoint, fingerprint, formulation
from experiments.core.sweep.cell import Context
from tests.toys import federated as tiny


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec_of(folder, *overrides, scale="smoke", **more):
    return tiny.loaded(tiny.write(folder, paper="train", **more), scale, *overrides)


def test_a_problem_is_what_the_spec_says(tmp_path):
    spec = spec_of(tmp_path, "seeds=[3]", algorithm={"kind": "fedprox", "mu": 0.2})
    context = Context(tmp_path)
    built = build(spec, 3, context)
    p = built.problem
    assert (len(p.federation.sizes), p.net.p, p.seed, len(p.schedule)) == (20, 305, 3, 6)
    assert p.schedule == draw_schedule(3, 20, 6, 6)
    assert p.federation.x.dtype == built.start.dtype == torch.float64
    assert (p.local.lr, p.local.steps, p.local.epochs) == (0.3, 2, None)
    assert isinstance(p.algorithm, FedProx) and p.algorithm.mu == 0.2
    expected = torch.nn.Sequential(torch.nn.Linear(60, 5))
    initialise(expected, 3)
    torch.testing.assert_close(built.start.float(), torch.nn.utils.parameters_to_vector(expected.parameters()))
    assert built.columns == {"dataset": "leaf_synthetic", "partition": "natural", "model": "leaf_logreg"}
    told = {"parameters": 305, "data": fingerprint(p.federation), "device": "cpu", "init": "glorot_uniform"}
    assert told.items() <= context.facts.items()


def test_optimiser_and_privacy_reach_the_problem(tmp_path):
    local = {"lr": 0.01, "epochs": 2, "batch_size": 8, "optimizer": "adamw"}
    private = ("privacy.clip=2.5", "privacy.noise=0.1")
    p = build(spec_of(tmp_path, *private, local=local), 0, Context(tmp_path)).problem
    assert (p.local.optimizer, p.local.betas, p.local.eps) == ("adamw", (0.9, 0.999), 1e-8)
    assert p.privacy == Privacy(2.5, 0.1)
    assert build(spec_of(tmp_path), 0, Context(tmp_path)).problem.privacy is None


def test_without_accountants_nothing_is_trained_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(MissingError, match="opacus") as caught:
        build(spec_of(tmp_path, "privacy.clip=2.5", "privacy.noise=0.1"), 0, Context(tmp_path))
    assert caught.value.todo == "pip install opacus" and caught.value.exit_code == 4
    build(spec_of(tmp_path), 0, Context(tmp_path))


NORMALISED = torch.nn.Sequential(torch.nn.Linear(60, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 5))


@pytest.mark.parametrize(
    ("local", "clients", "single"),
    [
        ({"lr": 0.1, "epochs": 1, "batch_size": 8}, 4, True),  # 33 samples each
        ({"lr": 0.1, "epochs": 1, "batch_size": 7}, 4, False),
        ({"lr": 0.1, "epochs": 1, "batch_size": 1}, 4, True),
        ({"lr": 0.1, "epochs": 1, "batch_size": 50}, 4, False),
        ({"lr": 0.1, "steps": 1}, 4, False),
        ({"lr": 0.1, "steps": 1}, 132, True),
    ],
)
def test_a_batch_of_one_sample_and_batchnorm(tmp_path, monkeypatch, local, clients, single):
    """PyTorch refuses it in the middle of a round; here it is a fault of the spec, and names a client."""
    data = {"kind": "leaf_synthetic", "clients": 20, "max_samples": 40}
    partition = {"kind": "iid", "clients": clients, "samples_per_client": 132 // clients}
    more = {"data": data, "partition": partition, "local": local, "clients_per_round": 2}
    spec = spec_of(tmp_path, **more)
    plain = build(spec, 0, Context(tmp_path))
    monkeypatch.setattr("experiments.core.study.federated.build_model", lambda *given: copy.deepcopy(NORMALISED))
    if single:
        with pytest.raises(SpecError, match=r"client \d+ trains on a batch of one sample") as caught:
            build(spec, 0, Context(tmp_path))
        assert caught.value.where == "local.batch_size"
    else:
        assert build(spec, 0, Context(tmp_path)).problem.schedule == plain.problem.schedule


def test_noise_on_variances_is_warned_of(tmp_path, monkeypatch):
    told = []
    context = Context(tmp_path, warn=told.append)
    build(spec_of(tmp_path, "privacy.clip=2.5", "privacy.noise=0.1"), 0, context)
    assert not told
    monkeypatch.setattr("experiments.core.study.federated.build_model", lambda *given: copy.deepcopy(NORMALISED))
    build(spec_of(tmp_path, "privacy.clip=2.5", "privacy.noise=0"), 0, context)
    assert not told
    build(spec_of(tmp_path, "privacy.clip=2.5", "privacy.noise=0.1"), 0, context)
    assert len(told) == 1 and "BatchNorm" in told[0]


def test_a_class_that_nobody_holds_is_warned_of(tmp_path):
    told = []
    few = {"partition": {"kind": "iid", "clients": 2, "samples_per_client": 1}, "clients_per_round": 2}
    algorithm = {"kind": "fedimpro", "split": "0"}
    built = build(spec_of(tmp_path, algorithm=algorithm, **few), 0, Context(tmp_path, warn=told.append))
    held = set(built.problem.federation.y.tolist())
    assert len(told) == 1 and f"class {', '.join(str(c) for c in range(5) if c not in held)}:" in told[0]
    build(spec_of(tmp_path, **few), 0, Context(tmp_path, warn=told.append))
    build(spec_of(tmp_path, algorithm=algorithm), 0, Context(tmp_path, warn=told.append))
    assert len(told) == 1


def test_a_block_that_does_not_exist_is_told_before_anything_is_trained(tmp_path):
    spec, context = spec_of(tmp_path, algorithm={"kind": "fedimpro"}), Context(tmp_path)
    with pytest.raises(SpecError, match="no block 'layer2'") as caught:
        formulation(spec, build(spec, 0, context).problem, 1, context)
    assert caught.value.where == "algorithm.split" and caught.value.exit_code == 2


def test_the_seed_moves_weights_and_schedule_but_not_the_data(tmp_path):
    one, again, two = (build(spec_of(tmp_path), seed, Context(tmp_path)) for seed in (0, 0, 1))
    assert torch.equal(one.start, again.start) and one.problem.schedule == again.problem.schedule
    assert not torch.equal(one.start, two.start) and one.problem.schedule != two.problem.schedule
    assert fingerprint(one.problem.federation) == fingerprint(two.problem.federation)


@pytest.mark.parametrize("part", ["x", "y", "test_x", "test_y"])
def test_the_fingerprint_sees_every_number(tmp_path, part):
    f = build(spec_of(tmp_path), 0, Context(tmp_path)).problem.federation
    before = fingerprint(f)
    assert before == fingerprint(f) and len(before) == 16
    getattr(f, part).view(-1)[-1] += 1
    assert fingerprint(f) != before


def test_squared_loss_has_one_hot_targets(tmp_path):
    labels = build(spec_of(tmp_path), 0, Context(tmp_path)).problem.federation
    f = build(spec_of(tmp_path, loss="squared"), 0, Context(tmp_path)).problem.federation
    assert f.y.dtype == torch.float64 and f.y.shape == (len(f.x), 5) and f.test_y.shape == (len(f.test_x), 5)
    assert torch.equal(f.y.argmax(1), labels.y) and (f.y.sum(1) == 1).all() and set(f.y.unique().tolist()) == {0, 1}


class Fixed:
    """A model block that builds this module."""

    kind = "fixed"

    def __init__(self, module):
        self.module = module

    def build(self, shape, classes):
        return self.module


class Raises(torch.nn.Linear):
    def forward(self, x):
        raise AttributeError("the user's own mistake\nand more")


class Doubles(torch.nn.Linear):
    def forward(self, x):
        x *= 2
        return super().forward(x)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (torch.nn.Linear(7, 5), "does not take inputs of shape (60,)"),
        (torch.nn.Linear(60, 4), "gives outputs of shape (4,) for 5 classes"),
        (
            torch.nn.Sequential(torch.nn.Unflatten(1, (1, 60)), torch.nn.Linear(60, 5)),
            "gives outputs of shape (1, 5) for 5 classes",
        ),
        (Raises(60, 5), "does not take inputs of shape (60,): the user's own mistake"),
        (Doubles(60, 5), "changes its inputs in place"),
    ],
)
def test_a_model_that_does_not_fit(tmp_path, module, said):
    spec = spec_of(tmp_path).model_copy(update={"model": Fixed(module)})
    with pytest.raises(SpecError) as caught:
        build(spec, 0, Context(tmp_path))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_more_clients_a_round_than_the_data_have_and_a_missing_device(tmp_path):
    spec = spec_of(tmp_path).model_copy(update={"clients_per_round": 21})
    with pytest.raises(SpecError, match="21 clients a round, but the data has 20 clients"):
        build(spec, 0, Context(tmp_path))
    with pytest.raises(MissingError, match="unknown device"):
        build(spec_of(tmp_path), 0, Context(tmp_path, device="tpu"))


def test_a_cell_keeps_its_formulation_over_an_interruption(tmp_path):
    """Law 5: whatever calibration or --formulation would say now, what was begun goes on the same way."""
    problem = build(spec_of(tmp_path), 0, Context(tmp_path)).problem
    first, context = tmp_path / "first", Context(tmp_path / "first")
    first.mkdir()
    assert formulation(spec_of(tmp_path, "formulation=looped"), problem, 1, context).name == "looped"
    assert json.loads((first / "formulation.json").read_text())["formulation"] == "looped"
    again = Context(first)
    assert formulation(spec_of(tmp_path, "formulation=dense"), problem, 1, again).name == "looped"
    assert again.facts["formulation"] == "looped"
    elsewhere = {"formulation": "only on a GPU", "device": "cuda", "seconds_per_model_step": {}}
    (first / "formulation.json").write_text(json.dumps(elsewhere))
    assert formulation(spec_of(tmp_path, "formulation=dense"), problem, 1, Context(first)).name == "dense"


def test_smoke_is_fixed_and_other_scales_are_timed(tmp_path):
    problem = build(spec_of(tmp_path), 0, Context(tmp_path)).problem
    for scale, timed in (("smoke", False), ("small", True)):
        folder, lines = tmp_path / scale, []
        folder.mkdir()
        spec = spec_of(tmp_path, "formulation=auto", scale=scale)
        formulation(spec, problem, 2, Context(folder, log=lines.append))
        told = json.loads((folder / "formulation.json").read_text())
        assert bool(told["seconds_per_model_step"]) == timed == ("per model and step" in lines[0])
        assert timed or told["formulation"] == "dense"


def test_checkpoints_belong_to_their_phase_and_their_data(tmp_path):
    spec, context = spec_of(tmp_path), Context(tmp_path, facts={"data": "abc"})
    saved = checkpoint(spec, context, "truth")
    saved.save({"round": 3})
    assert saved.path == tmp_path / "truth.ckpt" and saved.seconds == 0.001
    assert checkpoint(spec, context, "truth").load()["round"] == 3
    assert checkpoint(spec, context, "other").load() is None
    assert checkpoint(spec, Context(tmp_path, facts={"data": "abd"}), "truth").load() is None
