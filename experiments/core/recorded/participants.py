"""Who took part in a recorded round: its round.json, and the files of the clients' models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.core.errors import SpecError
from experiments.core.names import natural
from experiments.core.recorded.run_file import CLIENT, ENDINGS, MOST_SAMPLES, ROUND_FILE
from experiments.core.spec.reader import shown

PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}
"""Suffixes of files that could run code when they are read."""

_UNPICKLE = "write it with safetensors.torch.save_file(model.state_dict(), path)"
_HEAD = CLIENT.partition("{}")[0]


@dataclass(frozen=True)
class Told:
    """The content of round.json: the round's number, or None; ids of the participants; samples of each."""

    index: int | None
    clients: tuple[str, ...]
    sizes: tuple[int, ...]


def read_round_file(folder: Path) -> Told | None:
    """The content of round.json, None where there is none.

    Raises:
        SpecError: it is damaged, or says something else than it should.
    """
    path = folder / ROUND_FILE
    if not path.is_file():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        index, clients, sizes = note.get("round"), tuple(map(str, note["participants"])), tuple(note["sizes"])
        if len(clients) != len(sizes) or not all(0 < n <= MOST_SAMPLES and n == int(n) for n in sizes):
            raise ValueError("each participant needs one whole number of samples above 0")
        if len(set(clients)) < len(clients):
            raise ValueError("a participant is named twice")
        return Told(None if index is None else int(index), clients, tuple(map(int, sizes)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as fault:
        what = f"no {fault}" if isinstance(fault, KeyError) else str(fault)
        raise SpecError(f"not a valid {ROUND_FILE} ({what})", shown(path), "repair it, or remove it") from fault


def model_file(folder: Path, stem: str) -> Path | None:
    """The file of the model `stem` in `folder`, None where there is none.

    Raises:
        SpecError: there are two, of different endings.
    """
    files = [path for ending in ENDINGS if (path := folder / f"{stem}{ending}").is_file()]
    if len(files) > 1:
        raise SpecError(f"both {files[0].name} and {files[1].name} are there", shown(folder), "remove one")
    return files[0] if files else None


def client_files(folder: Path, note: Told | None) -> dict[str, Path]:
    """The models of the participants by id, in the order of round.json; else in natural order.

    Raises:
        SpecError: they are not those of round.json, or fewer than two; one has two files; pickles in their place.
    """
    ids = {p.stem.removeprefix(_HEAD) for ending in ENDINGS for p in folder.glob(CLIENT.format("?*") + ending)}
    for path in sorted(folder.glob(f"{_HEAD}*")):
        if path.stem.removeprefix(_HEAD) not in ids:
            refuse_pickle(path)
    models = {k: file for k in sorted(ids, key=natural) if (file := model_file(folder, CLIENT.format(k)))}
    _agree(folder, tuple(models) if note is None else note.clients, models)
    return models if note is None else {k: models[k] for k in note.clients}


def refuse_pickle(path: Path, todo: str = _UNPICKLE) -> None:
    """Raise when the name says that reading `path` could run foreign code.

    Raises:
        SpecError: it does.
    """
    if path.suffix.lower() in PICKLES:
        raise SpecError("a pickled file is not read: it could run foreign code", shown(path), todo)


def _agree(folder: Path, clients: tuple[str, ...], models: Mapping[str, Path]) -> None:
    """Raise SpecError unless the client models are those of the participants, all of them, and more than one."""
    lost, extra = sorted(set(clients) - set(models)), sorted(set(models) - set(clients))
    if lost:
        name = CLIENT.format(lost[0]) + ENDINGS[0]
        raise SpecError(f"no {name}, though {ROUND_FILE} names client {lost[0]}", shown(folder), "add it")
    if extra:
        what = f"{models[extra[0]].name} is there, but {ROUND_FILE} names no client {extra[0]}"
        raise SpecError(what, shown(folder), "remove one")
    if not clients:
        for path in sorted(folder.glob("client*")):
            refuse_pickle(path)
        what = f"no client models: no {CLIENT.format('<id>')}{ENDINGS[0]}"
        raise SpecError(what, shown(folder), "save each client's state dict so")
    if len(clients) == 1:
        what = "one client only: its share of the responsibility is the whole"
        raise SpecError(what, shown(folder), "trace a round of several")
