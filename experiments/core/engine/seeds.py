"""Randomness by name, not by order (law 1 of the engine)."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def stream(seed: int, purpose: str, **names: int | str) -> np.random.Generator:
    """Open the random stream that belongs to `purpose` and `names`: seed 0, "batch", client=3, round=7.

    Leaving a client out of a run shifts nobody else's draws, since no stream depends on what was drawn before.
    The same arguments give the same numbers on every machine (Philox, keyed by a SHA-256 of the names).
    """
    canonical = json.dumps([seed, purpose, sorted(names.items())], separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
