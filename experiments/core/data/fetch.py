"""The public data sets fedlab knows: which are present or missing, how to get them, and the downloads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.core.data._catalogue import CATALOGUE, Known
from experiments.core.data._form import misfit
from experiments.core.data._transfer import File, alone, receive, unsound
from experiments.core.errors import MissingError, SpecError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class State:
    """The state of one data set: "there", "missing", "differs" or "built in"; `detail` says why or what to do."""

    name: str
    what: str
    state: str
    detail: str


def catalogue() -> dict[str, Known]:
    """Every known data set, by name."""
    return {known.name: known for known in CATALOGUE}


def suppliers(path: str) -> tuple[str, ...]:
    """Names of the data sets whose download creates `path` in a data folder, or something below it."""
    return tuple(k.name for k in CATALOGUE if any(_puts(f, path) for f in (*(f.path for f in k.files), *k.built)))


def _puts(file: str, path: str) -> bool:
    """Whether `file` of a data folder is `path`, is inside it, or is its archive."""
    return file == path or file.startswith(f"{path.rstrip('/')}/") or file in (f"{path}.tgz", f"{path}.tar.gz")


def status(data_dir: Path | None, verify: bool = False) -> list[State]:
    """The state of each known data set. Sizes are checked; checksums only with `verify`, which reads every file."""
    return [_state(known, data_dir, verify) for known in CATALOGUE]


def download(name: str, data_dir: Path | None, progress: Progress | None = None) -> tuple[Path, ...]:
    """Download one data set into the data folder, or make it from others; valid files already present are kept.

    A file appears under its name only when complete and its checksum (or, if none is published, its format) is valid.

    Raises:
        SpecError: no such data set, or one that needs no download.
        MissingError: no data folder is given, no network, a wrong checksum, no space.
        BusyError: another process is downloading it.
    """
    known = catalogue().get(name)
    if known is None:
        raise SpecError(f"no data set {name!r} is known", "--download", f"known: {', '.join(catalogue())}")
    if known.place:
        raise SpecError(f"{name} is not downloaded: get your own copy", "--download", known.how)
    if not known.files and not known.needs:
        raise SpecError(f"{name} needs no download", "--download", f"use it as data.kind: {known.kind}")
    if data_dir is None:
        raise MissingError("no data folder is given", "--download", "name one with --data-dir or FEDLAB_DATA_DIR")
    for other in known.needs:
        download(other, data_dir, progress)
    if name == "mnist_by_writer":
        from experiments.core.data._by_writer import build

        build(data_dir, data_dir / known.built[0], data_dir / known.built[1])
    for file in known.files:
        if _fault(data_dir / file.path, file, verify=True):
            _fetch(file, data_dir / file.path, progress or (lambda what, done, total: None))
    return tuple(data_dir / path for path in (*known.built, *(file.path for file in known.files)))


def checked(name: str) -> str:
    """What was verified of a data set's files: their checksums, or only size and format."""
    known = catalogue()[name]
    bare = [file.path for file in known.files if not file.digest]
    if bare:
        return f"no checksum known of {', '.join(bare)}: size and form looked at"
    return "checksums right" if known.files else f"made from {', '.join(known.needs)}, whose checksums are right"


def _state(known: Known, data_dir: Path | None, verify: bool) -> State:
    """The state of one data set."""
    if known.place and not (data_dir and (data_dir / known.place).is_dir()):
        return State(known.name, known.what, "missing", known.how)
    if known.place:
        return State(known.name, known.what, "there", f"data.kind: {known.kind}")
    if not known.files and not known.built:
        return State(known.name, known.what, "built in", f"data.kind: {known.kind}")
    todo = f"fedlab data --download {known.name}" + (f"; {known.how}" if known.how else "")
    if data_dir is None:
        return State(known.name, known.what, "missing", "no data folder is given (--data-dir or FEDLAB_DATA_DIR)")
    if known.name in ("femnist", "mnist_by_writer") and _has_leaf(data_dir / known.name):
        return State(known.name, known.what, "there", f"data.kind: {known.kind} (LEAF JSON)")
    if unpacked := _unpacked_texts(known, data_dir):
        return State(known.name, known.what, "there", f"data.kind: {known.kind} (the folder {unpacked}, read as it is)")
    faults = [fault for file in known.files if (fault := _fault(data_dir / file.path, file, verify))]
    faults += [f"{path} is missing" for path in known.built if not (data_dir / path).is_file()]
    if not faults:
        return State(known.name, known.what, "there", f"data.kind: {known.kind}")
    state = "missing" if all(fault.endswith("is missing") for fault in faults) else "differs"
    return State(known.name, known.what, state, f"{faults[0]}; {todo}")


def _has_leaf(folder: Path) -> bool:
    """Whether there are LEAF files in one of the places where the loaders look."""
    from experiments.core.data._leaf import has_leaf

    return has_leaf(folder) or has_leaf(folder / "data")


def _unpacked_texts(known: Known, data_dir: Path) -> str:
    """The folder that `text_csv` reads instead of a data set's archive, where there is one, or ""."""
    if len(known.files) != 1 or not known.kind.startswith("text_csv"):
        return ""
    name = known.files[0].path.partition(".")[0]
    return name if all((data_dir / name / f"{part}.csv").is_file() for part in ("train", "test")) else ""


def _fault(path: Path, file: File, verify: bool) -> str:
    """What is wrong with a file, or ""."""
    if not path.is_file():
        return f"{file.path} is missing"
    if file.size and path.stat().st_size != file.size:
        return f"{file.path} has {path.stat().st_size} bytes, not {file.size}"
    try:
        if verify and file.digest and _digest(path, file) != file.digest:
            return f"{file.path} has another checksum than the published one"
        fault = misfit(path, file.path)
    except OSError as error:
        fault = f"cannot be read ({error.strerror or error})"
    return f"{file.path} {fault}" if fault else ""


def _digest(path: Path, file: File) -> str:
    """The digest of the file at `path`, in the notation of `file`."""
    kind = file.digest.partition(":")[0]
    with path.open("rb") as opened:
        return f"{kind}:{hashlib.file_digest(opened, kind).hexdigest()}"


def _fetch(file: File, target: Path, progress: Progress) -> None:
    """Download one file next to its target, check it, then rename it."""
    part = target.with_name(f"{target.name}.part")
    try:
        with alone(part) as opened:
            receive(file, opened, progress)
            if fault := _fault(part, file, verify=True):
                raise unsound(file, fault)
            part.replace(target)
    except OSError as error:
        where, todo = str(target.parent), "give a folder that can be written to as --data-dir"
        raise MissingError(f"cannot store {file.path} ({error.strerror or error})", where, todo) from error
