"""The files of a recorded round: where they lie, which round it is, who took part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.core.errors import FedlabError, MissingError, SpecError
from experiments.core.recorded.participants import client_files, model_file, read_round_file, refuse_pickle
from experiments.core.recorded.run_file import ENDINGS, GLOBAL, ROUND_FILE, ROUNDS, RUN_FILE
from experiments.core.spec.reader import shown

_LISTED = 12


@dataclass(frozen=True)
class RoundFiles:
    """Where one recorded round lies.

    Attributes:
        home: the folder with run.yaml. folder: the one with the models.
        index: the round's number, None where nothing tells.
        whole: the file of the global model.
        clients: ids of the participants, in the order of round.json; else in natural order.
        models: the file of each.
        sizes: samples of each by round.json, None where there is none.
    """

    home: Path
    folder: Path
    index: int | None
    whole: Path
    clients: tuple[str, ...]
    models: tuple[Path, ...]
    sizes: tuple[int, ...] | None


def find_round(run: Path, index: int | None = None) -> RoundFiles:
    """The files of round `index` below `run`, of the last one by default.

    `run` holds `rounds/<number>/`, or is that `rounds` folder, or one recorded round itself, or holds just one folder
    of the first form (as the folder of a setting of `fedlab train` does with one seed).

    Raises:
        MissingError: there is no such folder, or it may not be read. SpecError: no such round, models missing, pickles
            in their place.
    """
    try:
        return _found(run, index)
    except OSError as fault:
        what = f"cannot read the recorded run ({fault.strerror})"
        raise MissingError(
            what, shown(Path(fault.filename or run)), "check the name, and that you may read it"
        ) from fault


def _found(run: Path, index: int | None) -> RoundFiles:
    folder = _located(run, index)
    whole = model_file(folder, GLOBAL)
    if whole is None:
        raise _no_round(folder, [])
    note, home = read_round_file(folder), _home(folder)
    models = client_files(folder, note)
    number, name = note.index if note else None, _place(folder).name
    if number is None and home != _place(folder) and name.isdecimal():
        number = int(name)
    return RoundFiles(home, folder, number, whole, tuple(models), tuple(models.values()), note.sizes if note else None)


def _located(run: Path, index: int | None) -> Path:
    """The folder of the round."""
    if not run.is_dir():
        raise MissingError("no folder of a recorded run", shown(run), "name one that `fedlab train --record` wrote")
    if model_file(run, GLOBAL):
        note = read_round_file(run)
        if index is not None and (note is None or note.index != index):
            raise SpecError(f"round {index} is not recorded", shown(run), "only one round is recorded: omit --round")
        return run
    for folder in (run / ROUNDS, run):
        known = {int(f.name): f for f in folder.glob("*") if f.is_dir() and f.name.isdecimal()}
        if known and (_place(folder).name == ROUNDS or any(model_file(f, GLOBAL) for f in known.values())):
            return _chosen(known, index, folder)
    below = sorted({f.parent for depth in ("*", "*/*") for f in run.glob(f"{depth}/{ROUNDS}")})
    if len(below) == 1:
        return _located(below[0], index)
    raise _no_round(run, below)


def _chosen(known: dict[int, Path], index: int | None, folder: Path) -> Path:
    # `fedlab train` writes round.json last: a round without it was cut short, where others have one.
    whole = {t: f for t, f in known.items() if (f / ROUND_FILE).is_file()} or known
    number = max(whole) if index is None else index
    if number not in whole:
        raise SpecError(f"round {number} is not recorded", shown(folder), f"recorded: {_span(sorted(whole))}")
    return whole[number]


def _home(folder: Path) -> Path:
    """The folder with run.yaml: the round's own, or above it the one of the rounds, or the one of the run."""
    places = [_place(folder)]
    while places[-1].name == ROUNDS or places[-1].name.isdecimal():
        places.append(_place(places[-1].parent))
    run = places[-1] if any(folder.name == ROUNDS for folder in places) else places[0]
    return next((folder for folder in places if (folder / RUN_FILE).is_file()), run)


def _place(folder: Path) -> Path:
    """`folder` with the names above it, also where it is given as "." or ".."."""
    return folder if folder.name and ".." not in folder.parts else folder.resolve()


def _span(rounds: Sequence[int]) -> str:
    """Sorted numbers of rounds in words."""
    if len(rounds) > 2 and rounds[-1] - rounds[0] + 1 == len(rounds):
        return f"{rounds[0]} to {rounds[-1]}"
    return ", ".join(map(str, rounds[:_LISTED])) + (f", ... {rounds[-1]}" if len(rounds) > _LISTED else "")


def _no_round(folder: Path, below: Sequence[Path]) -> FedlabError:
    """The error of a folder without a recorded round: several runs inside it, pickles in their place, or nothing."""
    if below:
        return SpecError(f"{len(below)} recorded runs are here", shown(folder), f"name one: {below[0].name}, ...")
    for path in sorted(folder.iterdir()):
        if path.stem == GLOBAL:
            refuse_pickle(path)
    return SpecError(
        f"no recorded round: no {GLOBAL}{ENDINGS[0]} here, nor in {ROUNDS}/<number>/",
        shown(folder),
        "record one with `fedlab train --record`, or save the state dicts of the global model and of each client so",
    )
