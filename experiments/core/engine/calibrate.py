"""Picking a formulation: a short timed trial per model, shape and device, remembered between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.engine.examine import first_line
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation, formulations
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.memory import is_out_of_memory
from experiments.core.sealed import seal, unseal

_log = logging.getLogger(__name__)
_FIXED = ("dense", "looped")
_OUTCOME = ("gradients", "buffers", "outputs")
_MOST_MODELS, _MOST_SAMPLES, _SHOWN = 32, 512, 64


@dataclass(frozen=True)
class Choice:
    """The formulation picked, and what was found out about the candidates.

    Attributes:
        formulation: the one to use.
        seconds: per model and step, of each candidate; infinite where it failed; empty when none was timed.
        dropped: candidates that are out of the race here, and why.
    """

    formulation: Formulation
    seconds: dict[str, float]
    dropped: dict[str, str] = field(default_factory=dict)


def choose(
    net: Net, federation: Federation, worlds: int, threads: int, wanted: str = "auto", splits: bool = False,
    clip: float | None = None,
) -> Choice:  # fmt: skip
    """The formulation called `wanted`; for "auto" the fastest here; for "fixed" the same on every machine.

    "auto" times one gradient of every candidate on a client of median size, for the share of the `worlds` models that
    one thread gets, and remembers the result in the user's cache folder. Whatever is picked has first computed what
    plain autograd does, on that client: a candidate that fails or computes something else is out of the race. With
    `splits` only those that can split the network are in it. With `clip` it is about sums of clipped gradients.

    Raises:
        SpecError: an unknown formulation, or one that cannot compute this model here.
    """
    device, dtype = federation.x.device, _real(net, federation)
    known = formulations()
    candidates = {name: kind for name, kind in known.items() if kind.runs(net, device, dtype) and kind.splits >= splits}
    trial = _Trial(net, federation, min(_MOST_MODELS, max(1, -(-worlds // threads))), clip)
    if wanted not in ("auto", "fixed"):
        if wanted not in known:
            raise SpecError(f"unknown formulation {wanted!r}", "formulation", f"use auto or one of {', '.join(known)}")
        fault = trial.fault(candidates[wanted]) if wanted in candidates else ""
        if fault is not None:
            raise SpecError(
                f"formulation {wanted!r} cannot compute this model on {device}" + (f" ({fault})" if fault else ""),
                "formulation",
                f"use auto or one of {', '.join(name for name in candidates if name != wanted)}",
            )
        return Choice(candidates[wanted](net), {})
    seconds: dict[str, float] = {}
    order = [name for name in _FIXED if name in candidates]
    if wanted == "auto":
        seconds = _remembered(
            trial.key(candidates), set(candidates), lambda: {name: trial.time(candidates[name]) for name in candidates}
        )
        order = sorted(seconds, key=lambda name: (seconds[name], name != Looped.name))
    dropped: dict[str, str] = {}
    for name in order:
        fault = trial.fault(candidates[name])
        if fault is None:
            failed = {n: trial.fault(candidates[n]) for n, s in seconds.items() if math.isinf(s) and n not in dropped}
            dropped |= {n: why for n, why in failed.items() if why is not None}
            return Choice(candidates[name](net), seconds, dropped)
        dropped[name] = fault
    raise SpecError(f"no formulation computes this model: {dropped[order[-1]]}", "model", "correct its forward pass")


def _real(net: Net, federation: Federation) -> torch.dtype:
    """The arithmetic: the inputs', or the model's where inputs are ids."""
    return federation.x.dtype if federation.x.is_floating_point() else net.flat().dtype


class _Trial:
    """One gradient of `models` models on a client of median size, or on as many of its samples as tell enough."""

    def __init__(self, net: Net, federation: Federation, models: int, clip: float | None = None) -> None:
        sizes, self.clip = federation.sizes, clip
        client = sorted(range(len(sizes)), key=sizes.__getitem__)[len(sizes) // 2]
        self.net, (self.x, self.y) = net, (part[:_MOST_SAMPLES] for part in federation.of(client))
        self.theta: Tensor = net.flat().to(federation.x.device, _real(net, federation)).repeat(models, 1)

    def key(self, candidates: dict[str, type[Formulation]]) -> str:
        """What the result depends on."""
        parts = [
            "sealed",
            str(self.net.module),
            self.net.loss,
            list(self.x.shape),
            len(self.theta),
            str(self.theta.dtype),
            sorted(candidates),
            torch.__version__,
            *([] if self.clip is None else ["clipped"]),
        ]
        where = torch.cuda.get_device_name(self.x.device) if self.x.is_cuda else f"{os.cpu_count()} cpu"
        return hashlib.sha256(json.dumps([*parts, where]).encode()).hexdigest()[:20]

    def time(self, kind: type[Formulation]) -> float:
        """Seconds per model of the best of a few gradients, infinite when it fails or does not fit into memory."""
        best, formulation = float("inf"), kind(self.net).at(0)
        started = time.perf_counter()
        try:
            for trial in range(6):
                began = time.perf_counter()
                with warnings.catch_warnings(action="ignore"):  # about what vmap batches slowly: the clock shows that
                    self._gradient(formulation, self.theta.clone())
                if self.x.is_cuda:
                    torch.cuda.synchronize(self.x.device)
                if trial:  # the first call builds and warms up
                    best = min(best, time.perf_counter() - began)
                if trial and time.perf_counter() - started > 3.0:
                    break
        except Exception:  # the module may be the user's own; `fault` says what it was
            return float("inf")
        return best / len(self.theta)

    def fault(self, kind: type[Formulation]) -> str | None:
        """Why a formulation is not fit to compute this model, in a line; None where it is."""
        try:
            with warnings.catch_warnings(action="ignore"):
                ours = self._outcome(kind(self.net))
        except Exception as fault:  # as in `time`
            return None if is_out_of_memory(fault) else first_line(fault)
        if kind is Looped:
            return None
        limit = torch.finfo(self.theta.dtype).eps ** 0.3
        for name, mine, judged in zip(_OUTCOME, ours, self._outcome(Looped(self.net)), strict=True):
            mine, judged = mine.nan_to_num(), judged.nan_to_num()
            if mine.shape != judged.shape or float((mine - judged).norm()) > limit * float(judged.norm()) + 1e-30:
                return f"its {name} differ from plain autograd's"
        return None

    def _outcome(self, formulation: Formulation) -> tuple[Tensor, ...]:
        """Two gradients of two different models, what they leave behind, and outputs: as named in `_OUTCOME`."""
        theta = self.theta[:1] * torch.tensor([[1.0], [0.9]]).to(self.theta)
        theta[:, self.net.real :] = self.theta[0, self.net.real :]
        seeded, p = formulation.at(0), self.net.p
        gradients = [self._gradient(seeded, theta) for _ in range(2)]
        outputs = seeded.outputs(theta, self.x[:_SHOWN])
        return torch.stack(gradients), theta[:, p:], outputs

    def _gradient(self, formulation: Formulation, theta: Tensor) -> Tensor:
        """What a step takes from the formulation: a gradient, or with `clip` a sum of clipped ones."""
        if self.clip is None:
            return formulation.gradient(theta, self.x, self.y, None)
        return formulation.clipped(theta, self.x, self.y, None, self.clip)[0]


def cache_folder() -> Path:
    """The user's cache folder of this program ($XDG_CACHE_HOME/fedlab, by default ~/.cache/fedlab)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedlab"


def _remembered(key: str, names: set[str], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The stored result of `key` for `names`, or measure() stored under it.

    Where the cache cannot be read or written, it is measured again; where it is damaged, also with a warning.
    """
    path = cache_folder() / "calibration" / f"{key}.json"
    seconds = _stored(path, names)
    if seconds is not None:
        return seconds
    seconds = measure()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(seal(seconds))
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
    return seconds


def _stored(path: Path, names: set[str]) -> dict[str, float] | None:
    """The seconds stored at `path` for exactly these `names`; None where there are none."""
    try:
        seconds = {name: float(value) for name, value in unseal(path.read_bytes()).items()}
    except OSError:
        return None
    except (ValueError, TypeError):
        _log.warning("the remembered calibration %s is damaged: measured anew", path.name)
        return None
    return seconds if set(seconds) == names and not any(math.isnan(s) for s in seconds.values()) else None
