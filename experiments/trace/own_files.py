"""The files of a recorded round: where they lie, which round it is, who took part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.core.errors import FedlabError, MissingError, SpecError
from experiments.core.spec.reader import shown
from experiments.core.spec.record import CLIENT, GLOBAL, MOST_SAMPLES, ROUND_FILE, ROUNDS, RUN_FILE

PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}
"""Suffixes of files that could run code when they are read."""

_NAMED = 12
_UNPICKLE = "write it with safetensors.torch.save_file(model.state_dict(), path)"


@dataclass(frozen=True)
class RoundFiles:
    """Where one recorded round lies.

    Attributes:
        home: the folder with run.yaml. folder: the one with global.safetensors.
        index: the round's number, None where nothing tells.
        clients: ids of the participants, in the order of round.json; else numbers by value, then words by letter.
        sizes: samples of each by round.json, None where there is none.
    """

    home: Path
    folder: Path
    index: int | None
    clients: tuple[str, ...]
    sizes: tuple[int, ...] | None


def find_round(run: Path, index: int | None = None) -> RoundFiles:
    """The files of round `index` below `run`, of the last one by default.

    `run` holds `rounds/<number>/`, or is itself one recorded round, or holds just one folder of the first form (as the
    folder of a setting of `fedlab train` does with one seed).

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
    home, folder = _located(run, index)
    told = _told(folder)
    there = _clients(folder)
    clients = there if told is None else told.clients
    _agree(folder, clients, there)
    number = told.index if told else None
    place = _place(folder)
    if number is None and place.parent.name == ROUNDS and place.name.isdecimal():
        number = int(place.name)
    return RoundFiles(home, folder, number, clients, told.sizes if told else None)


def refuse_pickle(path: Path, todo: str = _UNPICKLE) -> None:
    """Raise when the name says that reading `path` could run foreign code.

    Raises:
        SpecError: it does.
    """
    if path.suffix.lower() in PICKLES:
        raise SpecError("a pickled file is not read: it could run foreign code", shown(path), todo)


def _located(run: Path, index: int | None) -> tuple[Path, Path]:
    """The folder with run.yaml, and that of the round."""
    if not run.is_dir():
        raise MissingError("no folder of a recorded run", shown(run), "name one that `fedlab train --record` wrote")
    if (run / GLOBAL).is_file():
        told = _told(run)
        if index is not None and (told is None or told.index != index):
            raise SpecError(f"round {index} is not recorded", shown(run), "only one round lies here: leave --round out")
        above = _place(run).parent
        return (above.parent if above.name == ROUNDS and not (run / RUN_FILE).is_file() else run), run
    known = {int(f.name): f for f in (run / ROUNDS).glob("*") if f.is_dir() and f.name.isdecimal()}
    # `fedlab train` writes round.json last: a round without it was cut short, where others have one.
    known = {t: f for t, f in known.items() if (f / ROUND_FILE).is_file()} or known
    if known:
        return run, _chosen(known, index, run)
    below = sorted({f.parent for f in run.glob(f"*/{ROUNDS}")})
    if len(below) == 1:
        return _located(below[0], index)
    raise _no_round(run, below)


def _place(folder: Path) -> Path:
    """`folder` with the names above it, also where it is given as "." or ".."."""
    return folder if folder.name and ".." not in folder.parts else folder.resolve()


def _chosen(known: dict[int, Path], index: int | None, run: Path) -> Path:
    number = max(known) if index is None else index
    if number not in known:
        raise SpecError(f"round {number} is not recorded", shown(run / ROUNDS), f"recorded: {_span(sorted(known))}")
    if not (known[number] / GLOBAL).is_file():
        raise _no_round(known[number], [])
    return known[number]


def _span(rounds: Sequence[int]) -> str:
    """Sorted numbers of rounds in words."""
    if len(rounds) > 2 and rounds[-1] - rounds[0] + 1 == len(rounds):
        return f"{rounds[0]} to {rounds[-1]}"
    return ", ".join(map(str, rounds[:_NAMED])) + (f", ... {rounds[-1]}" if len(rounds) > _NAMED else "")


def _no_round(folder: Path, below: Sequence[Path]) -> FedlabError:
    """The error of a folder without a recorded round: several runs inside it, pickles in their place, or nothing."""
    if below:
        return SpecError(f"{len(below)} recorded runs lie here", shown(folder), f"name one: {below[0].name}, ...")
    for path in sorted(folder.iterdir()):
        if path.stem == Path(GLOBAL).stem:
            refuse_pickle(path)
    return SpecError(
        f"no recorded round: no {GLOBAL} here, nor in {ROUNDS}/<number>/",
        shown(folder),
        "record one with `fedlab train --record`, or save the state dicts of the global model and of each client so",
    )


@dataclass(frozen=True)
class _Told:
    """The content of round.json."""

    index: int | None
    clients: tuple[str, ...]
    sizes: tuple[int, ...]


def _told(folder: Path) -> _Told | None:
    """The content of round.json, None where there is none.

    Raises:
        SpecError: it is damaged, or says something else than it should.
    """
    path = folder / ROUND_FILE
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        index, clients, sizes = told.get("round"), tuple(map(str, told["participants"])), tuple(told["sizes"])
        if len(clients) != len(sizes) or not all(0 < n <= MOST_SAMPLES and n == int(n) for n in sizes):
            raise ValueError("each participant needs one whole number of samples above 0")
        if len(set(clients)) < len(clients):
            raise ValueError("a participant is named twice")
        return _Told(None if index is None else int(index), clients, tuple(map(int, sizes)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as fault:
        what = f"no {fault}" if isinstance(fault, KeyError) else str(fault)
        raise SpecError(f"not a sound {ROUND_FILE} ({what})", shown(path), "mend it, or remove it") from fault


def _clients(folder: Path) -> tuple[str, ...]:
    """The ids in the names of the client models: numbers by value, then words by letter."""
    head, tail = CLIENT.split("{}")
    found = [f.name[len(head) : -len(tail)] for f in folder.glob(CLIENT.format("?*"))]
    return tuple(sorted(found, key=lambda k: (not k.isdecimal(), int(k) if k.isdecimal() else 0, k)))


def _agree(folder: Path, clients: Sequence[str], there: Sequence[str]) -> None:
    """Raise SpecError unless the client models are those of the participants, all of them, and more than one."""
    head = CLIENT.partition("{}")[0]
    for path in sorted(folder.glob(f"{head}*")):
        if path.stem.removeprefix(head) not in there:
            refuse_pickle(path)
    lost, extra = sorted(set(clients) - set(there)), sorted(set(there) - set(clients))
    if lost:
        raise SpecError(
            f"no {CLIENT.format(lost[0])}, though {ROUND_FILE} names client {lost[0]}", shown(folder), "add it"
        )
    if extra:
        raise SpecError(
            f"{CLIENT.format(extra[0])} is there, but {ROUND_FILE} names no client {extra[0]}",
            shown(folder),
            "remove one",
        )
    if not clients:
        for path in sorted(folder.glob("client*")):
            refuse_pickle(path)
        raise SpecError(
            f"no client models: no {CLIENT.format('<id>')}", shown(folder), "save each client's state dict so"
        )
    if len(clients) == 1:
        raise SpecError(
            "one client only: its share of the responsibility is the whole", shown(folder), "trace a round of several"
        )
