"""Who the clients of a cell are: clients.csv beside its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.core.sweep import files
from experiments.core.sweep.cell import Context
from experiments.core.sweep.rows import to_csv

if TYPE_CHECKING:
    from experiments.core.engine.federation import Federation


def keep_clients(federation: Federation, context: Context) -> None:
    """Write clients.csv into the cell's folder: a client a row, in the order of their numbers.

    Columns: number (the position that options take as `#number`), name, size (training samples), and label_0, label_1,
    ..., how many of them are of each class as the clients train on them (none where targets are no classes).
    """
    columns = ["number", "name", "size"]
    labels = [f"label_{c}" for c in range(federation.classes)] if not federation.predicts_numbers else []
    counts = federation.label_counts().tolist() if labels else [[]] * len(federation.sizes)
    rows = [
        dict(zip([*columns, *labels], map(str, (k, name, size, *held)), strict=True))
        for k, (name, size, held) in enumerate(zip(federation.clients, federation.sizes, counts, strict=True))
    ]
    files.atomic_write(context.folder / files.CLIENTS, to_csv(rows, [*columns, *labels]))
