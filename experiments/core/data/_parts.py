"""The training and the test rows of a table, their labels and their clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.data._clients import by_name
from experiments.core.data._labels import Labels, is_number, numbered_labels
from experiments.core.data._own_test import clients_left, marked, of_clients, sentence_of_clients
from experiments.core.data._split import drawn, split_by_owner, split_rows
from experiments.core.data._table import Table
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data.csv import Csv

_FEW = 20  # up to so many distinct labels a column counts as classes


@dataclass(frozen=True)
class Parts:
    """A table split in two.

    Attributes:
        train, test: the rows of each part. owner: the client of each training row, an index into `names`, or None.
        test_from, own_tests: as in `Pool`.
    """

    train: Table
    test: Table
    owner: np.ndarray | None
    names: tuple[str, ...]
    test_from: str
    own_tests: bool = False


def of_one(block: Csv, table: Table, file: Path) -> Parts:
    """The parts of one table: by its split column, by clients, or drawn.

    Raises:
        SpecError: an invalid word in the split column, an unknown client, an empty part.
    """
    import numpy as np

    where, owner, names = str(file), *_clients(block, table)
    if block.split is not None:
        tests = marked(where, block.split, table.words[block.split], lambda row: f"line {table.lines[row]}")
        test_from = f"the rows that say test in column {block.split!r}"
    elif block.test_clients is not None:
        assert owner is not None
        tests = of_clients(where, owner, names, block.test_clients)
        test_from = sentence_of_clients(block.test_clients)
    else:
        return _drawn(block, table, owner, names)
    train, test = np.flatnonzero(~tests), np.flatnonzero(tests)
    if owner is None:
        return Parts(table.rows(train), table.rows(test), None, (), test_from)
    shared = bool(np.isin(owner[test], owner[train]).any())
    return Parts(table.rows(train), table.rows(test), *clients_left(owner[train], names), test_from, shared)


def of_two(block: Csv, table: Table, file: Path, other: Table, other_file: Path) -> Parts:
    """The parts of a table and a file of test rows."""
    return Parts(table, other, *_clients(block, table), f"the file {other_file.name}")


def classes(block: Csv, parts: Parts, file: Path) -> Labels:
    """The labels of both parts as classes.

    Raises:
        SpecError: the labels are not classes; the message says how to set up a regression.
    """
    import numpy as np

    label_texts = [part.words[block.label] for part in (parts.train, parts.test)]
    if block.decimal == "," and all(
        is_number(w.replace(",", ".")) for part in label_texts for w in np.unique(part).tolist()
    ):
        label_texts = [np.char.replace(words, ",", ".") for words in label_texts]
    lines = {"training": parts.train.lines, "test": parts.test.lines}
    regression = "to predict a number, set data.target: number and loss: squared"
    try:
        labels = numbered_labels(str(file), label_texts, naming=lambda part, row: f"line {lines[part][row]}")
    except SpecError as error:
        raise SpecError(f"column {block.label!r}: {error.what}", error.where, f"{error.todo}; {regression}") from error
    different, n = len(np.unique(labels.parts[0])), len(parts.train.lines)
    if different > max(_FEW, n // 2):
        what = f"column {block.label!r} holds {different} different labels in {n} training rows: no classes"
        raise SpecError(what, str(file), f"name another as data.label; {regression}")
    return labels


def _clients(block: Csv, table: Table) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The client of every row and the clients' names in natural order; None and none without a client column."""
    if block.client is None:
        return None, ()
    names, owner = by_name(table.words[block.client])
    return owner, names


def _drawn(block: Csv, table: Table, owner: np.ndarray | None, names: tuple[str, ...]) -> Parts:
    """Test rows drawn at random, separately for each client where there are clients."""
    from experiments.core.engine.seeds import stream

    if owner is None:
        stream_of = stream(block.split_seed, "split", part="rows")
        train, test = split_rows(len(table.lines), block.train_fraction, stream_of)
        test_from = drawn(block.train_fraction, "the rows", block.split_seed)
        return Parts(table.rows(train), table.rows(test), None, (), test_from)
    train, test = split_by_owner(owner, names, block.train_fraction, block.split_seed)
    test_from = drawn(block.train_fraction, "each client's rows", block.split_seed)
    return Parts(table.rows(train), table.rows(test), owner[train], names, test_from, own_tests=True)
