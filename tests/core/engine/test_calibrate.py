"""The calibration picks the fastest, remembers it, and never needs its cache."""

import time

import pytest
import torch
from torch import nn

from experiments.core.engine import calibrate
from experiments.core.engine.calibrate import cache_folder, choose
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.sealed import seal, unseal
from tests.core.engine.test_simulate import federation


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def net():
    return Net.of(nn.Sequential(nn.Linear(6, 3)).double())


@pytest.fixture
def paced(monkeypatch):
    """Two formulations whose gradients take known times; how often each was asked, and for how many models."""
    asked = {"quick": [], "slow": []}
    pace = {"quick": 0.0, "slow": 0.05}

    def make(name):
        class Paced(formulations()["looped"]):
            def gradient(self, theta, x, y, weight):
                asked[self.name].append((len(theta), len(x)))
                time.sleep(pace[self.name])
                return super().gradient(theta, x, y, weight)

        Paced.name = name
        return Paced

    kinds = {name: make(name) for name in ("slow", "quick")}
    monkeypatch.setattr(calibrate, "formulations", lambda: kinds)
    return asked, pace, kinds


def stored(cache):
    return list((cache / "fedlab" / "calibration").glob("*"))


def test_the_fastest_is_picked_and_remembered(net, paced, cache):
    asked, pace, _ = paced
    choice = choose(net, federation(), 6, 2)
    assert choice.formulation.name == "quick" and set(choice.seconds) == {"quick", "slow"}
    assert choice.seconds["slow"] >= 0.05 / 3 and choice.seconds["quick"] < choice.seconds["slow"]
    # Three of six models on one of two threads, a client of median size; then two models beside plain autograd.
    assert set(asked["quick"]) == {(3, 5), (2, 5)} and set(asked["slow"]) == {(3, 5)}
    asked["quick"].clear(), asked["slow"].clear()
    pace.update(quick=0.1, slow=0.0)
    again = choose(net, federation(), 6, 2)
    assert again.formulation.name == "quick" and again.seconds == choice.seconds
    assert set(asked["quick"]) == {(2, 5)} and not asked["slow"]
    (file,) = stored(cache)
    assert cache_folder() == cache / "fedlab" and set(unseal(file.read_text())) == {"quick", "slow"}


@pytest.mark.slow
def test_another_model_another_size_another_number_of_worlds_are_timed_anew(net, paced, cache):
    choose(net, federation(), 6, 1)
    choose(Net.of(nn.Sequential(nn.Linear(6, 3), nn.Tanh()).double()), federation(), 6, 1)
    choose(net, federation(), 60, 1)
    choose(net, federation().to("cpu", torch.float32), 6, 1)
    assert len(stored(cache)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", "not json", "\x00", "[" * 100_000, '{"slow": 0.1, "quick": 0.2}', seal({"slow": 0.1}),
     seal({"slow": None, "quick": 1}), seal({"slow": float("nan"), "quick": 1}), seal({"gone": 0.1})],
)  # fmt: skip
def test_a_damaged_cache_is_measured_anew(net, paced, cache, content):
    choose(net, federation(), 6, 2)
    (file,) = stored(cache)
    file.write_text(content)
    assert choose(net, federation(), 6, 2).formulation.name == "quick"
    assert set(unseal(file.read_text())) == {"quick", "slow"}


def test_a_flipped_digit_in_the_cache_picks_nothing(net, paced, cache, caplog):
    asked, _, _ = paced
    choose(net, federation(), 6, 2)
    (file,) = stored(cache)
    file.write_text(file.read_text().replace("0.0", "9.0"))
    asked["quick"].clear()
    choose(net, federation(), 6, 2)
    assert asked["quick"] and [r.getMessage().endswith("is damaged: measured anew") for r in caplog.records] == [True]


def test_without_a_writable_cache_it_is_measured_every_time(net, paced, cache):
    cache.write_text("a file where the folder should be")
    asked, _, _ = paced
    for _ in range(2):
        asked["quick"].clear()
        assert choose(net, federation(), 6, 2).formulation.name == "quick"
        assert asked["quick"]
    assert cache.read_text() == "a file where the folder should be"


def test_a_full_disk_leaves_nothing_behind(net, paced, cache, monkeypatch):
    def full(value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(calibrate, "seal", full)
    assert choose(net, federation(), 6, 2).formulation.name == "quick"
    assert stored(cache) == []


def test_what_does_not_fit_into_memory_is_never_picked(net, paced):
    _, _, kinds = paced

    def none(self, *given):
        raise torch.cuda.OutOfMemoryError("no room")

    kinds["quick"].gradient = none
    choice = choose(net, federation(), 6, 2)
    assert choice.formulation.name == "slow" and choice.seconds["quick"] == float("inf")
    assert choose(net, federation(), 6, 2).formulation.name == "slow"  # infinity survives the cache


def test_what_fails_is_out_of_the_race(net, paced):
    _, _, kinds = paced

    def broken(self, *given):
        raise RuntimeError("shape mismatch\nat some line")

    kinds["quick"].gradient = broken
    choice = choose(net, federation(), 6, 2)
    assert (
        choice.formulation.name == "slow"
        and choice.dropped == {"quick": "shape mismatch"}
        and choice.seconds["quick"] == float("inf")
    )
    with pytest.raises(SpecError, match=r"'quick' cannot compute this model on cpu \(shape mismatch\);"):
        choose(net, federation(), 6, 2, "quick")
    kinds["slow"].gradient = broken
    with pytest.raises(SpecError, match="no formulation computes this model: shape mismatch;"):
        choose(net, federation(), 6, 2)


@pytest.mark.parametrize("what", ["gradients", "buffers", "outputs"])
def test_what_computes_something_else_is_out_of_the_race(paced, what):
    """Whether it is known to be quick from an earlier run or not."""
    _, pace, kinds = paced
    pace["slow"] = 0.05
    net = Net.of(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double())
    data = federation()
    assert choose(net, data, 6, 2).formulation.name == "quick"
    right, seen = kinds["quick"].gradient, kinds["quick"].outputs

    def gradient(self, theta, x, y, weight):
        found = right(self, theta, x, y, weight)
        if what == "buffers":
            theta[:, net.p :] = 0.5
        return found * (1.001 if what == "gradients" else 1)

    kinds["quick"].gradient = gradient
    if what == "outputs":
        kinds["quick"].outputs = lambda self, theta, x: seen(self, theta, x) + 0.01
    choice = choose(net, data, 6, 2)
    assert choice.formulation.name == "slow"
    assert choice.dropped == {"quick": f"its {what} differ from plain autograd's"}


def test_by_name_and_fixed_time_nothing(net, cache):
    assert choose(net, federation(), 6, 2, "vmapped").formulation.name == "vmapped"
    fixed = choose(net, federation(), 6, 2, "fixed")
    assert fixed.formulation.name == "dense" and fixed.seconds == {}
    conv = Net.of(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 3)).double())
    assert choose(conv, federation((1, 4, 4)), 6, 2, "fixed").formulation.name == "looped"
    assert not stored(cache)


def test_unknown_and_unable(net):
    with pytest.raises(SpecError, match="unknown formulation 'warp'") as caught:
        choose(net, federation(), 6, 2, "warp")
    assert "auto or one of" in caught.value.todo and "dense" in caught.value.todo
    with pytest.raises(SpecError, match="'grouped' cannot compute this model on cpu") as caught:
        choose(net, federation(), 6, 2, "grouped")
    assert "dense" in caught.value.todo and "grouped" not in caught.value.todo


def test_the_real_ones(net, cache):
    choice = choose(net, federation(), 6, 2)
    assert choice.seconds[choice.formulation.name] == min(choice.seconds.values()) < 1
    assert {"dense", "looped", "vmapped"} <= set(choice.seconds)


def test_the_cache_is_in_the_home_without_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fedlab"
