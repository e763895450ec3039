"""Named tables and figures, published as CSV + PNG (+ Markdown): equal content gives equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core import clean
from experiments.core.errors import MissingError, SpecError
from experiments.core.report.markdown import markdown
from experiments.core.report.style import literal, styled
from experiments.core.sweep import files

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Artefact:
    """A table or figure of a paper.

    Attributes:
        name: the file name without ending, e.g. "figure3". frame: the numbers behind it, one observation a row.
        figure: draws it (called inside `style.styled`), or None for a table only.
        caption: one sentence. table_md: publish a Markdown table too, rows in the order of `frame`.
        excerpt: the rows of `frame` that screen and Markdown show, where the whole is long; the CSV holds all.
        key: how the numbers are read, in a line that stands under the table on the screen, too.
        stand_in: the data used in place of the paper's, stamped on figure and table; where left empty it is read off
            the frame's column `setting` ("setting2-digits" stands in with "digits").
        blanks: column -> why a cell of it may be empty, said on the screen under a table that shows such a cell.
    """

    name: str
    frame: pd.DataFrame
    figure: Callable[[], Figure] | None = None
    caption: str = ""
    table_md: bool = False
    stand_in: str = ""
    excerpt: pd.DataFrame | None = None
    key: str = ""
    blanks: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> pd.DataFrame:
        """The rows for screen and Markdown."""
        return self.frame if self.excerpt is None else self.excerpt

    def why_blank(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Why cells of `rows` are empty: a line for each reason, with the columns that it is about."""
        columns: dict[str, list[str]] = {}
        for column, why in self.blanks.items():
            if any(column in row and _is_empty(row[column]) for row in rows):
                columns.setdefault(why, []).append(column)
        return [f"blank under {', '.join(names)}: {why}" for why, names in columns.items()]


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value != value


_STAND_INS = {"-standin": "stand-in data", "-digits": "stand-in data: digits"}


def stand_in_of(setting: str) -> str:
    """What stands in for the paper's data in a setting named `<setting>-standin` or `<setting>-digits`, else ""."""
    return next((words for ending, words in _STAND_INS.items() if setting.endswith(ending)), "")


def family(setting: str) -> str:
    """The paper's setting behind a setting or its stand-in ("small_mnist-digits" -> "small_mnist")."""
    return setting.rpartition("-")[0] if stand_in_of(setting) else setting


def stamp(artefact: Artefact, scale: str) -> str:
    """The words that must stand on an artefact that is not what the paper shows: "smoke", the stand-in; or ""."""
    words = [artefact.stand_in] if artefact.stand_in else []
    if not words and "setting" in artefact.frame:
        words = sorted({stand_in_of(str(s)) for s in artefact.frame["setting"].dropna()} - {""})
    return " · ".join((["SMOKE RUN"] if scale == "smoke" else []) + words)


def publish(artefacts: Iterable[Artefact], folder: Path, scale: str) -> list[Path]:
    """Write every artefact into `folder`, each file whole or not at all; returns the paths in the order written.

    Raises:
        SpecError: smoke numbers on their way into a folder of published results (`paper` or `small`).
        MissingError: the disk is full, or the folder cannot be written to.
    """
    if scale == "smoke" and {"paper", "small"} & {folder.name, folder.parent.name}:
        raise SpecError("smoke numbers are never published", f"folder {folder.parent.name}/{folder.name}")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for artefact in artefacts:
            for ending, data in _contents(artefact, scale).items():
                path = folder / f"{artefact.name}.{ending}"
                if not path.is_file() or path.read_bytes() != data:
                    files.atomic_write(path, data)
                written.append(path)
    except OSError as error:
        if files.is_disk_full(error, folder):
            raise MissingError("disk full", f"writing into {folder.name}", "free some space and repeat") from error
        what, todo = f"tables cannot be written ({error.strerror or error})", "give a folder that can be written to"
        raise MissingError(what, str(folder), todo) from error
    return written


def _contents(artefact: Artefact, scale: str) -> dict[str, bytes]:
    mark = stamp(artefact, scale)
    contents = {"csv": csv_bytes(artefact.frame)}
    if artefact.figure is not None:
        contents["png"] = png_bytes(artefact.figure, mark)
    if artefact.table_md:
        lines = [f"**{mark}**", ""] if mark else []
        words = " ".join(filter(None, [artefact.caption, artefact.key]))
        lines += [words, ""] if words else []
        contents["md"] = ("\n".join(lines) + ("\n" if lines else "") + markdown(artefact.shown)).encode()
    return contents


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """`frame` as CSV: rows sorted by the columns from left to right, floats %.6g, LF."""
    from pandas.api.types import is_object_dtype

    plain = frame.copy()
    for column in [c for c in plain.columns if is_object_dtype(plain[c])]:
        plain[column] = [f"{v:.6g}" if isinstance(v, float) else v for v in plain[column]]
    if len(plain) and len(plain.columns):
        plain = plain.sort_values(list(plain.columns), kind="stable", key=_sortable)
    text: str = clean.cells(plain).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode()


def _sortable(column: pd.Series) -> pd.Series:
    if hasattr(column, "cat"):  # names in an order of their own
        return column.cat.codes
    return column.astype(str) if column.dtype.kind == "O" else column


def png_bytes(draw: Callable[[], Figure], mark: str = "") -> bytes:
    """The figure that `draw` makes, as PNG without date or software version; `mark` goes in front of its title."""
    with styled():
        figure = draw()
        if mark:
            _mark(figure, mark)
        literal(figure)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _mark(figure: Figure, mark: str) -> None:
    title = figure.get_suptitle()
    figure.suptitle(f"{mark}\n{title}" if title else mark, color="#B00020")
