"""The formulation of a cell: chosen at its first start, kept at every later one (law 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.core.engine.calibrate import Choice, choose
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net
from experiments.core.sealed import seal, set_aside, unseal
from experiments.core.spec.central import CentralSpec
from experiments.core.spec.fields import RunSpec
from experiments.core.sweep import files
from experiments.core.sweep.cell import Context

NOTE = "formulation.json"


def formulation(
    spec: RunSpec | CentralSpec, net: Net, federation: Federation, worlds: int, context: Context, splits: bool = False,
    clip: float | None = None,
) -> Formulation:  # fmt: skip
    """The spec's formulation for `worlds` worlds; where it says auto, the fastest one, or a fixed one at smoke scale.

    `splits`: one that can split the network. `clip`: the fastest at sums of clipped gradients.

    Raises:
        SpecError: as `choose`.
    """
    wanted = "fixed" if spec.scale == "smoke" and spec.formulation == "auto" else spec.formulation

    def pick(name: str) -> Choice:
        return choose(net, federation, worlds, context.threads, name, splits, clip)

    return settled(context, federation.x.device.type, wanted, pick)


def settled(context: Context, device: str, wanted: str, choose: Callable[[str], Choice]) -> Formulation:
    """What this cell computed with before it was interrupted, else `choose(wanted)`; noted in its work folder.

    Another kind of device needs a choice of its own.

    Raises:
        SpecError: as `choose`.
    """
    before = _before(context)
    known = before.get("device") == device
    choice = choose(before["formulation"] if known else wanted)
    name = choice.formulation.name
    if not known:
        content = {"formulation": name, "device": device, "seconds_per_model_step": choice.seconds}
        files.atomic_write(context.folder / NOTE, seal(content))
    context.facts["formulation"] = name
    timed = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in sorted(choice.seconds.items(), key=lambda i: i[1]))
    context.log(f"formulation: {name}" + (f" (per model and step: {timed})" if timed else ""))
    for name, why in choice.dropped.items():
        context.log(f"formulation {name} is not used: {why}")
    return choice.formulation


def _before(context: Context) -> dict[str, Any]:
    """The note of an earlier start. Without it a checkpoint may be of another arithmetic: it is set aside, too."""
    note, checkpoints = context.folder / NOTE, sorted(context.folder.rglob("*.ckpt"))
    try:
        return unseal(note.read_bytes())
    except FileNotFoundError:
        damaged = checkpoints
    except (OSError, ValueError):
        damaged = [note, *checkpoints]
    if damaged:
        named = ", ".join(set_aside(path) for path in damaged)
        context.warn(f"{NOTE} is damaged or missing: set aside as {named}, the cell is computed from its start")
    return {}
