"""Named streams: frozen values, and no stream that moves another."""

import hashlib

import numpy as np
import pytest

from experiments.core.engine.seeds import stream

FROZEN = {
    "init": [318568405, 990212947, 1102448095],
    "batch": [2, 5, 0, 4, 3, 1],
    "schedule": [42, 61, 13, 97, 71],
    "normal": [1.8124942445564443, -0.7482635509032659],
}


def test_the_numbers_are_frozen():
    """Were these to change, every stored schedule, batch order and initial weight would."""
    assert stream(0, "init").integers(2**31, size=3).tolist() == FROZEN["init"]
    assert stream(7, "batch", client=3, round=7).permutation(6).tolist() == FROZEN["batch"]
    assert stream(1, "schedule", round=1).choice(100, 5, replace=False).tolist() == FROZEN["schedule"]
    assert stream(0, "x", tensor="0.weight").standard_normal(2).tolist() == pytest.approx(FROZEN["normal"], abs=1e-15)


def test_the_key_is_the_hash_of_the_names():
    digest = hashlib.sha256(b'[7,"batch",[["client",3],["round",7]]]').digest()
    key = np.array([int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)], dtype=np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key)).random(5)
    assert (stream(7, "batch", round=7, client=3).random(5) == expected).all()


def test_no_stream_depends_on_what_was_drawn_before():
    alone = stream(0, "batch", client=2).random(4)
    for client in (0, 1):
        stream(0, "batch", client=client).random(100)
    np.random.default_rng().random(3)
    assert (stream(0, "batch", client=2).random(4) == alone).all()


def test_every_name_and_seed_opens_another_stream():
    opened = [
        stream(0, "a"),
        stream(1, "a"),
        stream(0, "b"),
        stream(0, "a", k=1),
        stream(0, "a", k=2),
        stream(0, "a", j=1),
        stream(0, "a", k="1"),
        stream(0, "a", k=1, j=2),
        stream(0, "a", k=2, j=1),
    ]
    assert len({g.random() for g in opened}) == len(opened)
