"""What is said before anything is computed: what starts, on which data, what it costs, and what is shorter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.core.data._files import how_to_get
from experiments.core.errors import MissingDataError, MissingError, SpecError
from experiments.core.spec.load import Loaded, load
from experiments.core.spec.needs import missing
from experiments.core.spec.role import Role, keys
from experiments.core.spec.tree import SCALES


@dataclass(frozen=True)
class Setting:
    """A setting that was asked for.

    Attributes:
        loaded: what runs: its spec, or its stand-in's where `lacks` says that its own data are missing.
        lacks: what of its own is missing, None when all is there.
        blocked: the same where no stand-in takes its place, so that it cannot run.
        how: what gets what is missing.
    """

    loaded: Loaded
    lacks: MissingError | None = None
    blocked: MissingError | None = None
    how: str = ""


def settled(read: Callable[[bool], Loaded], folder: Path | None, stand_in: bool) -> Setting:
    """A setting with its data there, or else on the stand-in of its file.

    Args:
        read: loads it; True: with its stand-in.
        folder: the data folder.
        stand_in: whether a stand-in may take its place.

    Raises:
        SpecError: the spec has faults.
    """
    as_written = read(False)
    lacks = missing(as_written.spec, folder)
    if lacks is None:
        return Setting(as_written)
    other = _stand_in(read) if stand_in and as_written.stand_in else None
    if other is None or other.spec.name == as_written.spec.name or missing(other.spec, folder):
        return Setting(as_written, lacks, lacks)
    how = how_to_get(lacks.downloads, folder) if isinstance(lacks, MissingDataError) else lacks.todo
    return Setting(other, lacks, how=how)


def _stand_in(read: Callable[[bool], Loaded]) -> Loaded | None:
    """The stand-in; None where what the user set is about the setting's own data, and does not fit others."""
    try:
        return read(True)
    except SpecError:
        return None


def opening(setting: Setting, bare: bool) -> Iterator[str]:
    """The first lines of a run; `bare`: the user named no setting."""
    spec, owner = setting.loaded.spec, setting.loaded.paper
    chosen = f"nothing is named, so {owner.name} starts" if bare else owner.name
    parts = [f"{chosen} {spec.name} at scale {spec.scale}: {spec.title}" if spec.title else f"{chosen} {spec.name}"]
    parts += [f"{len(spec.seeds)} seeds"] * (len(spec.seeds) > 1) + [spec.cost] * bool(spec.cost)
    ways = shorter(setting.loaded)
    yield "; ".join([*parts, *([f"shorter: {', '.join(ways)}"] if ways else [])])
    if setting.lacks:
        yield instead(setting)


def instead(setting: Setting) -> str:
    """That a stand-in runs, why, and what gets the setting's own data."""
    loaded, why = setting.loaded, setting.lacks.what if setting.lacks else ""
    name = f"runs on {loaded.stand_in} as {loaded.spec.name} (--no-stand-in rejects it)"
    return f"stand-in: {name}, for {why}; {setting.how}"


def shorter(loaded: Loaded) -> list[str]:
    """Options that make this run shorter, with what it then costs."""
    spec = loaded.spec
    ways = [f"--seeds {spec.seeds[0]}"] if len(spec.seeds) > 1 else []
    for scale in reversed(SCALES[: SCALES.index(spec.scale)]):
        other = _at(loaded, scale)
        if other is not None and _numbers(other) != _numbers(spec):
            ways.append(f"--scale {scale}" + (f" ({other.cost})" if other.cost else ""))
    return ways


def _at(loaded: Loaded, scale: str) -> Any:
    """The spec of the same file at another scale, None where it has faults there."""
    try:
        return load(loaded.path, loaded.paper.name, scale).spec
    except SpecError:
        return None


def _numbers(spec: Any) -> dict[str, Any]:
    """What a spec says apart from its name, its words and its scale; of its data a stand-in may have been put in."""
    values: dict[str, Any] = spec.model_dump(exclude={*keys(type(spec), Role.IDENTITY, Role.WORDS), "data"})
    return values
