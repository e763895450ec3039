"""Recorded rounds as a server of somebody else's would write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from fedlab_cli.main import main


def states(module: nn.Module, clients: int, seed: int = 0, shares: list[float] | None = None) -> list[dict]:
    """The global state dict, then those of `clients` clients, of which it is the mean weighed by `shares`."""
    draw = torch.Generator().manual_seed(seed)
    own = module.state_dict()
    p = shares or [1 / clients] * clients
    moved = [
        {n: t + 0.05 * torch.rand(t.shape, generator=draw, dtype=t.dtype) if t.is_floating_point() else t
         for n, t in own.items()}
        for _ in range(clients)
    ]  # fmt: skip
    mean = {n: sum(q * m[n] for q, m in zip(p, moved, strict=True)) if t.is_floating_point() else t
            for n, t in own.items()}  # fmt: skip
    return [mean, *moved]


def save(
    folder: Path, dicts: list[dict], ids: list[object] | None = None, counts: list[int] | None = None, **told: object
) -> Path:
    """Write one round flat into `folder`; `told` is run.yaml. With `counts` also round.json."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(range(len(dicts) - 1)) if ids is None else ids
    for name, tensors in zip(["global", *(f"client_{k}" for k in names)], dicts, strict=True):
        held = {n: t.detach().clone().contiguous() for n, t in tensors.items()}
        safetensors.torch.save_file(held, folder / f"{name}.safetensors")
    if counts is not None:
        (folder / "round.json").write_text(json.dumps({"round": 4, "participants": names, "sizes": counts}))
    if told:
        (folder / "run.yaml").write_text(yaml.safe_dump(told))
    return folder


def save_arrays(folder: Path, dicts: list[dict], ids: list[object], names: bool = True) -> None:
    """Write models as .npz files, by name or, as Flower's lists of arrays are saved, as arr_0, arr_1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in zip(["global", *(f"client_{k}" for k in ids)], dicts, strict=True):
        held = {n: t.detach().numpy() for n, t in tensors.items()}
        np.savez(folder / f"{name}.npz", **held) if names else np.savez(folder / f"{name}.npz", *held.values())


def trace(run: Path, *more: object, code: int = 0) -> None:
    """`fedlab trace --run` in this process."""
    assert main(["trace", "--run", str(run), "--device", "cpu", *map(str, more)]) == code


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str, where: str) -> None:
    """`fedlab trace` ends with `code` and says what, where and what to do in a line each."""
    assert main(["trace", *arguments]) == code
    err = capsys.readouterr()
    if said:
        lines = err.err.splitlines()
        assert lines[0].startswith("error: ") and len(lines) == 3 and said in err.err, err.err
        assert lines[1].startswith("  at:  ") and where in lines[1] and lines[2].startswith("  fix: ")
    assert err.out == "" and "Traceback" not in err.err and "unexpected" not in err.err
    assert not Path("ran").exists()
