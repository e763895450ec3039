"""Damaged at any place in any way, a checkpoint gives the very content that was saved, or nothing and a line."""

from __future__ import annotations

import hashlib
import random

import pytest
import torch

from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine import checkpoint as module
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.formulations import formulations
from experiments.core.engine.simulate import simulate
from tests.core.engine.test_simulate import WORLDS, problem

CONTENT = {
    "round": 7,
    "states": torch.linspace(-1, 1, 60, dtype=torch.float64).view(3, 20),
    "observers": [{"gradients": torch.arange(9.0), "at": 3}],
}


@pytest.fixture
def saved(tmp_path):
    """A checkpoint, its bytes, and the warnings about it."""
    said: list[str] = []
    kept = Checkpoint(tmp_path / "truth.ckpt", "mine", warn=said.append)
    kept.save(CONTENT)
    return kept, kept.path.read_bytes(), said


def same(found):
    told = found["observers"][0]
    return (
        found["round"] == 7
        and torch.equal(found["states"], CONTENT["states"])
        and torch.equal(told["gradients"], torch.arange(9.0))
        and told["at"] == 3
    )


def flipped(whole, place):
    spoilt = bytearray(whole)
    spoilt[place // 8] ^= 1 << place % 8
    return bytes(spoilt)


def is_set_aside(kept, said):
    aside = kept.path.with_name("truth.ckpt.damaged")
    told = len(said) == 1 and "truth.ckpt.damaged" in said[0] and "\n" not in said[0]
    return told and aside.is_file() and not kept.path.exists()


def test_what_was_saved_comes_back(saved):
    kept, _, said = saved
    assert same(kept.load()) and not said
    assert Checkpoint(kept.path, "another run").load() is None and kept.path.exists()


def test_one_flipped_bit_anywhere_is_noticed(saved):
    kept, whole, said = saved
    chance = random.Random(0)
    for place in (*range(0, 60 * 8, 5), *(chance.randrange(len(whole) * 8) for _ in range(200))):
        kept.path.write_bytes(flipped(whole, place))
        assert kept.load() is None and is_set_aside(kept, said), place
        said.clear()


def test_cut_or_longer_or_overwritten_it_is_noticed(saved):
    kept, whole, said = saved
    chance = random.Random(1)
    cuts = [whole[: chance.randrange(len(whole))] for _ in range(100)]
    zeros = [whole[:at] + bytes(64) + whole[at + 64 :] for at in range(0, len(whole) - 64, 97)]
    for spoilt in (b"", whole[:59], whole + b"\0", whole + whole, *cuts, *(z for z in zeros if z != whole)):
        kept.path.write_bytes(spoilt)
        assert kept.load() is None and is_set_aside(kept, said)
        said.clear()


def test_files_of_others_are_set_aside(saved, tmp_path):
    kept, _, said = saved
    torch.save({"fingerprint": "mine", **CONTENT}, kept.path)  # without the hash
    assert kept.load() is None and is_set_aside(kept, said)
    said.clear()
    payload = b"not of torch"
    head = module._HEAD.pack(module._MARK, len(payload), hashlib.sha256(payload).digest())
    kept.path.write_bytes(head + payload)
    assert kept.load() is None and is_set_aside(kept, said)
    said.clear()
    kept.path.mkdir()
    assert kept.load() is None and len(said) == 1 and not kept.path.exists()
    kept.save(CONTENT)  # what lies aside is in nobody's way
    assert same(kept.load())


def test_one_of_an_older_version_is_set_aside(saved):
    """Whole and of the same run, but from before algorithms had a state in it."""
    kept, whole, said = saved
    mark = b"fedlab checkpoint 2\n"
    kept.path.write_bytes(mark + whole[len(mark) :])
    assert kept.load() is None and is_set_aside(kept, said)
    assert "of another version" in said[0] and "computed again" in said[0]


def test_a_run_that_meets_an_older_version_begins_anew(tmp_path):
    p, said = problem(algorithm=Scaffold()), []
    expected = simulate(p, WORLDS, p.net.flat(), formulations()["looped"](p.net))
    old = Checkpoint(tmp_path / "truth.ckpt", "mine")
    old.save({"round": 3, "states": torch.zeros(len(WORLDS), p.net.size), "observers": []})
    whole = old.path.read_bytes()
    old.path.write_bytes(whole.replace(module._MARK, b"fedlab checkpoint 2\n"))
    again = Checkpoint(old.path, "mine", warn=said.append)
    states = simulate(p, WORLDS, p.net.flat(), formulations()["looped"](p.net), checkpoint=again)
    assert torch.equal(states, expected) and len(said) == 1 and "set aside" in said[0]


def test_a_right_hash_runs_nobodys_code(saved, tmp_path):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harmed").touch, ())

    kept, _, said = saved
    kept.save({"round": Harm()})
    assert kept.load() is None and is_set_aside(kept, said)
    assert not (tmp_path / "harmed").exists()


def test_a_lack_of_memory_is_no_damage(saved, monkeypatch):
    kept, _, said = saved

    def none(*given, **named):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(torch, "load", none)
    with pytest.raises(RuntimeError, match="allocate"):
        kept.load()
    assert kept.path.exists() and not said
