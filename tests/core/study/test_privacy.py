"""Rows and warnings of private runs: each client's rate and steps counted by hand, opacus' accountants for the rest."""

import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant

from experiments.core.engine.noise import noise_for
from experiments.core.engine.worlds import World
from experiments.core.study.federated import build
from experiments.core.study.privacy import phases_of, privacy_rows
from experiments.core.sweep.cell import Context
from tests.toys import federated as tiny

LOCAL = "local={steps: null, epochs: 2, batch_size: 4}"
SGD = "privacy={{kind: sgd, clip: 1.0, noise: {noise}, delta: {delta}, accountant: {accountant}}}"


def built(folder, *overrides):
    told, warned = [], []
    context = Context(folder, tell=told.append, warn=warned.append)
    spec = tiny.loaded(tiny.write(folder, paper="train"), "smoke", LOCAL, "clients_per_round=2", "rounds=2", *overrides)
    return spec, build(spec, 0, context).problem, told, warned


def values(spec, problem, *world):
    return {row["metric"]: row["value"] for row in privacy_rows(spec, problem, *world)}


@pytest.mark.parametrize(("accountant", "theirs"), [("rdp", RDPAccountant), ("prv", PRVAccountant)])
@pytest.mark.filterwarnings("ignore:Optimal order is")
def test_the_largest_epsilon_over_clients(tmp_path, accountant, theirs):
    """Every client's batches counted in the schedule, and given to opacus one client at a time."""
    spec, problem, _, _ = built(tmp_path, SGD.format(noise=1.5, delta=1e-3, accountant=accountant))
    expected = {}
    for k, n in enumerate(problem.federation.sizes):
        steps = sum(len(problem.batches(k, t)) for t, drawn in enumerate(problem.schedule, 1) if k in drawn)
        if steps:
            one = theirs()
            one.history = [(1.5, min(1.0, 4 / n), steps)]
            with np.errstate(all="ignore"):
                expected[min(1.0, 4 / n), steps] = one.get_epsilon(1e-3)
    told = values(spec, problem)
    most = max(expected, key=expected.get)
    assert len(expected) > 1 and told["epsilon"] == pytest.approx(expected[most], rel=2e-3)
    assert (told["rate"], told["steps"], told["noise"], told["delta"]) == (*most, 1.5, 1e-3)


def test_a_world_spends_for_those_that_take_part(tmp_path):
    spec, problem, _, _ = built(tmp_path, SGD.format(noise=1.5, delta=1e-3, accountant="rdp"))
    told = values(spec, problem)
    sizes = problem.federation.sizes
    worst = {k for k in range(len(sizes)) if min(1.0, 4 / sizes[k]) == told["rate"]}
    less = values(spec, problem, World("less", frozenset(worst)))
    assert less["epsilon"] < told["epsilon"] and less["rate"] < told["rate"]
    assert not privacy_rows(spec, problem, World("nobody", frozenset(range(len(sizes)))))
    assert phases_of(problem, World("nobody", frozenset(range(len(sizes))))) == []


def test_epsilon_becomes_noise_and_is_told(tmp_path):
    spec, problem, told, warned = built(tmp_path, "privacy={kind: sgd, epsilon: 3, delta: 1e-3, accountant: rdp}")
    least = max(noise_for(3.0, phase.rate, phase.steps, 1e-3, "rdp") for phase in phases_of(problem))
    assert problem.mechanism.noise == least and 2.99 < values(spec, problem)["epsilon"] <= 3
    assert any(f"noise multiplier {least:.4g} keeps every client to epsilon 3 at delta 0.001 (rdp)" in t for t in told)
    assert not any("delta" in line for line in warned)


def test_a_delta_that_protects_nobody_is_warned_of(tmp_path):
    n = min(built(tmp_path)[1].federation.sizes)
    for privacy in (SGD.format(noise=1, delta=1 / n, accountant="rdp"), "privacy={clip: 1, noise: 1, delta: 0.05}"):
        assert any(line.startswith("delta 0.") and "privacy.delta" in line for line in built(tmp_path, privacy)[3])


def test_batches_without_a_sample_are_warned_of(tmp_path):
    told = SGD.format(noise=1, delta=1e-4, accountant="rdp")
    _, problem, _, warned = built(tmp_path, told, "local.batch_size=1")
    (line,) = [line for line in warned if "without a sample" in line]
    share = float(line.partition("%")[0]) / 100
    client = int(line.partition("client ")[2].partition(" ")[0])
    drawn = [len(rows) == 0 for t in range(1, 400) for rows in problem.batches(client, t)]
    assert share == pytest.approx(sum(drawn) / len(drawn), abs=0.05)
    assert not any("without a sample" in line for line in built(tmp_path, told, "local.batch_size=6")[3])


def test_without_privacy_nothing_is_told(tmp_path):
    spec, problem, _, warned = built(tmp_path)
    assert privacy_rows(spec, problem) == [] and not warned
