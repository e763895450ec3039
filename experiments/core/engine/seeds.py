"""Randomness by name, not by order (law 1 of the engine)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, purpose: str, **names: int | str) -> np.random.Generator:
    """Open the random stream that belongs to `purpose` and `names`: seed 0, "batch", client=3, round=7.

    Leaving a client out of a run shifts nobody else's draws, since no stream depends on what was drawn before.
    The same arguments give the same numbers on every machine (Philox, keyed by a SHA-256 of the names).
    """
    canonical = json.dumps([seed, purpose, sorted(names.items())], separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


@contextmanager
def seeded(seed: int, purpose: str, **names: int | str) -> Iterator[None]:
    """The global generators of PyTorch, numpy and Python start from the stream of these names, and are put back after.

    For code that is not ours and draws from them, such as the constructor of a user's model.
    """
    number = int(stream(seed, purpose, **names).integers(2**31))
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
