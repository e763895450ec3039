"""Rewards of clients: exact ones by hand, truths by plain training, noise as stated, and what is refused."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch.nn.functional import cross_entropy

from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, without_client
from experiments.core.errors import SpecError
from experiments.core.scores.ranges import Ranges
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.vog import rewards
from experiments.vog.blocks import RewardsSpec
from experiments.vog.cells import compute
from experiments.vog.client_truth import Updates
from experiments.vog.study import planted
from tests.vog import toy

REWARDS = {
    "epsilons": [2], "public": 60, "nulls": 1, "ceiling": False,
    "noisy": {"client": 2, "share": 0.5}, "duplicated": {"client": "#1", "share": 0.3},
}  # fmt: skip
CLIENTS = 4


def federation(**more):
    dealt = {
        "partition": {"kind": "dirichlet", "clients": CLIENTS, "alpha": 1.0, "min_size": 10, "split_seed": 0},
        "clients_per_round": CLIENTS, "local": {"lr": 0.05, "epochs": 1, "batch_size": 16}, "rounds": 2,
        "methods": ["loss"], "images": 0, "rewards": REWARDS, "formulation": "dense",
    }  # fmt: skip
    return toy.spec(**{**dealt, **more})


def cell(folder, seed=0, **more):
    folder.mkdir(exist_ok=True)
    warned = []
    rows = compute(federation(**more), "", seed, Context(folder, warn=warned.append))
    return {(r["method"], r["metric"], r["subject"]): r for r in rows}, warned


PRIVACY = {"none": None, "sgd": {"kind": "sgd", "clip": 0.5, "noise": 0.3}}


@pytest.fixture(scope="module", params=list(PRIVACY))
def measured(request, tmp_path_factory):
    """Rows, the problem that they are of, its initial state."""
    folder, privacy = tmp_path_factory.mktemp("cell"), PRIVACY[request.param]
    spec = federation(privacy=privacy)
    built = build(spec, 0, Context(folder))
    return cell(folder, privacy=privacy)[0], planted(spec, built.problem)[0], built.start


def test_truths_are_those_of_plain_training_without_the_client(measured):
    rows, problem, start = measured
    data, losses = problem.federation, []
    for world in (BASE, *(without_client(k) for k in range(CLIENTS))):
        *_, (_, state) = simulate_plain(problem, world, start)
        losses.append(float(cross_entropy(problem.net.call(state, data.test_x), data.test_y)))
    told = [rows["train", "client_truth", f"client={k}"] for k in range(CLIENTS)]
    assert [row["value"] for row in told] == pytest.approx([loss - losses[0] for loss in losses[1:]], rel=1e-6)
    assert [row["n"] for row in told] == list(data.sizes)
    spread = rows["train", "client_truth_spread", ""]["value"]
    assert spread == pytest.approx(np.std([row["value"] for row in told])) and spread > 1e-3
    assert rows["train", "client_null_spread", ""]["value"] < 1e-9  # float64


def test_exact_rewards_are_means_of_losses_scaled_by_the_server_s_ranges(measured):
    rows, problem, start = measured
    data = problem.federation
    *_, (_, state) = simulate_plain(problem, BASE, start)

    def losses(x, y):
        return cross_entropy(problem.net.call(state, x), y, reduction="none").detach().numpy()

    some = np.sort(np.random.Generator(rewards.stream(0, "public").bit_generator).permutation(len(data.test_y))[:60])
    server, labels = losses(data.test_x[some], data.test_y[some]), data.test_y[some].numpy()
    expected = []
    for k in range(CLIENTS):
        scaled = []
        for loss, label in zip(losses(*data.of(k)), data.of(k)[1].tolist(), strict=True):
            part = server[labels == label] if (labels == label).sum() > 1 else server
            scaled.append(min(1.0, max(0.0, (loss - part.min()) / (part.max() - part.min()))))
        expected.append(np.mean(scaled))
    told = [rows["loss", "reward", f"client={k} release=exact"]["value"] for k in range(CLIENTS)]
    assert told == pytest.approx(expected, rel=1e-6) and np.ptp(told) > 0.01


def test_correlations_are_scipy_s_and_faults_and_sizes_are_told(measured):
    rows, problem, _ = measured
    truth = [rows["train", "client_truth", f"client={k}"]["value"] for k in range(CLIENTS)]
    for method, release in (("loss", "exact"), ("loss", "2"), ("size", "exact"), ("norm", "exact")):
        own = [rows[method, "reward", f"client={k} release={release}"]["value"] for k in range(CLIENTS)]
        row = rows[method, "reward_spearman", f"release={release}"]
        assert row["value"] == pytest.approx(stats.spearmanr(own, truth).statistic) and row["n"] == CLIENTS
        low, high = (rows[method, f"reward_spearman_{end}", f"release={release}"]["value"] for end in ("low", "high"))
        assert low <= row["value"] <= high
    assert [rows["size", "reward", f"client={k} release=exact"]["value"] for k in range(CLIENTS)] == [
        *problem.federation.sizes
    ]
    assert rows["config", "client_fault", "client=2 fault=noisy"]["value"] == 0.5
    assert rows["config", "client_fault", "client=1 fault=duplicated"]["value"] == 0.3


def test_the_data_are_spoilt_as_told(measured, tmp_path):
    _, problem, _ = measured
    clean, spoilt = build(federation(), 0, Context(tmp_path)).problem.federation, problem.federation
    for k in range(CLIENTS):
        (x, y), (own_x, own_y) = clean.of(k), spoilt.of(k)
        copies = len(own_x) - len(own_x.flatten(1).unique(dim=0))
        assert copies == (round(0.3 * len(y)) if k == 1 else 0)
        assert int((own_y != y).sum()) == round(0.5 * len(y)) or k != 2
        assert k in (1, 2) or (torch.equal(x, own_x) and torch.equal(y, own_y))


def test_noise_is_what_a_mean_of_so_many_needs():
    """(eps, 0) privacy for a mean of n numbers in [0, 1]: Laplace of scale 1 / (n eps) (Dwork et al. 2006)."""
    scores = np.full(40, 0.5)
    drawn = np.array([rewards.told(scores, 2.0, seed, "vog", 0) for seed in range(2000)]) - 0.5
    assert stats.kstest(drawn, stats.laplace(scale=1 / (40 * 2)).cdf).pvalue > 1e-3
    one = (2.0, 0, "vog", 0)
    assert rewards.told(scores, *one) == rewards.told(scores, *one)
    for other in ((4.0, 0, "vog", 0), (2.0, 1, "vog", 0), (2.0, 0, "loss", 0), (2.0, 0, "vog", 1)):
        assert rewards.told(scores, *other) != rewards.told(scores, *one)


def test_the_ceiling_is_the_next_seed_s_truth(tmp_path):
    first, _ = cell(tmp_path / "0", rewards={**REWARDS, "ceiling": True})
    second, _ = cell(tmp_path / "1", seed=1)
    truths = [
        [rows["train", "client_truth", f"client={k}"]["value"] for k in range(CLIENTS)] for rows in (first, second)
    ]
    told = first["train", "client_ceiling_spearman", ""]["value"]
    assert told == pytest.approx(stats.spearmanr(*truths).statistic)
    assert truths[0] != pytest.approx(truths[1], rel=0.01)


def test_a_reward_without_a_range_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Ranges, "of", lambda *given: None)
    rows, warned = cell(tmp_path)
    assert {method for method, metric, _ in rows if metric == "reward"} == {"size", "norm", "cosine"}
    assert "rewards: loss is the same for all 60 samples of the server; left out" in warned


def test_ranges_by_hand():
    found = Ranges.of([1.0, 3.0, 10.0, 7.0, 7.0], [0, 0, 1, 2, 2], 4)
    assert found.low.tolist() == [1, 1, 1, 1] and found.high.tolist() == [3, 10, 10, 10]
    assert found.scaled([0.0, 2.0, 9.0, 1.0, 10.0], [0, 0, 0, 1, 3]).tolist() == [0, 0.5, 1, 0, 1]
    assert Ranges.of([2.0, 2.0], [0, 1], 2) is None and Ranges.of([], [], 2) is None


def test_updates_are_averaged_over_the_rounds_that_a_client_took_part_in():
    class Record:
        def __init__(self, before, after, participants, locals_):
            self.before, self.aggregate = torch.tensor(before), torch.tensor(after)
            self.participants, self.locals = participants, torch.tensor(locals_)

    seen = Updates(2, 3)
    seen.observe(Record([0.0, 0.0, 9.0], [1.0, 0.0, 9.0], (0, 1), [[3.0, 4.0, 0.0], [0.0, 2.0, 0.0]]))
    seen.observe(Record([0.0, 0.0, 9.0], [0.0, 1.0, 9.0], (1,), [[0.0, 4.0, 0.0]]))
    again = Updates(2, 3)
    again.restore(seen.state())
    for one in (seen, again):
        means = one.means()
        assert means["norm"][:2].tolist() == [5, 3] and means["cosine"][:2].tolist() == pytest.approx([0.6, 0.5])
        assert math.isnan(means["norm"][2])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rewards": {"noisy": {"client": 9}}}, "rewards.noisy.client: unknown client '9'"),
        ({"rewards": {"noisy": {"client": 1}, "duplicated": {"client": 1}}}, "it has wrong labels already"),
        ({"rewards": {"noisy": {"client": 1, "share": 1.0}}}, "less than 1"),
        ({"planted": 0.1}, "planted: the faults of rewards"),
        ({"partition": {"kind": "dirichlet", "clients": CLIENTS}}, "partition.split_seed: each seed would deal other"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(more, said):
    with pytest.raises(ValidationError, match=said):
        federation(**more)


def test_too_few_clients_and_clients_that_alone_hold_a_class(tmp_path):
    two = {"partition": {"kind": "iid", "clients": 2, "split_seed": 0}, "clients_per_round": 2, "rewards": {}}
    with pytest.raises(SpecError, match="2 clients are too few to rank"):
        cell(tmp_path, **two)
    shards = {"kind": "shards", "clients": 5, "shards_per_client": 2, "split_seed": 0}
    plain = {"epsilons": [1], "ceiling": False, "nulls": 0}
    rows, warned = cell(tmp_path / "shards", partition=shards, clients_per_round=5, rewards=plain, rounds=1, every=1)
    alone = [line for line in warned if "no sample of class" in line]
    assert alone and alone[0].startswith("rewards: without client ")
    assert ("train", "client_null_spread", "") not in rows


def test_what_it_costs():
    block = RewardsSpec(nulls=3)
    assert block.trainings(100, 10) == 2 * 11 + 3 and RewardsSpec(ceiling=False, nulls=0).trainings(100, 10) == 11
    assert block.worlds(100, 50, 10) == 25
