"""The images below a folder and their classes: a folder for each class, or a pattern of the files' names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.core.errors import MissingError, SpecError

Labelled = tuple[Path, int]
"""A file and the number of its class."""


def part_of(folder: Path, words: Sequence[str]) -> Path | None:
    """The folder among those in `folder` that is called by the first possible of `words`, in any case; or None."""
    by_name = {entry.name.lower(): entry for entry in _folders(folder)}
    return next((by_name[word] for word in words if word in by_name), None)


def labelled(roots: Sequence[Path], pattern: str | None = None) -> tuple[list[str], list[list[Labelled]]]:
    """The classes' names in natural order, and the images below each of `roots` with the number of their class.

    A class is a folder in one of the roots, and all images below it; with a `pattern` it is what the pattern finds in
    the path of an image below the root (its group, where it has one).

    Raises:
        MissingError: a root is no folder, or cannot be read.
        SpecError: fewer than two classes, a class folder without images, an image whose path the pattern does not fit.
    """
    if pattern is None:
        return _by_folder(roots)
    found = [_by_pattern(root, re.compile(pattern)) for root in roots]
    names = _named({name for part in found for _, name in part}, roots, "name at least two classes in label_pattern")
    numbers = {name: number for number, name in enumerate(names)}
    return names, [sorted(((file, numbers[name]) for file, name in part), key=_class) for part in found]


def _class(item: Labelled) -> int:
    return item[1]


def _by_folder(roots: Sequence[Path]) -> tuple[list[str], list[list[Labelled]]]:
    """Each folder in the roots is a class."""
    folders = {entry.name for root in roots for entry in _folders(root)}
    names = _named(folders, roots, "give one folder of images for each class", "class folders")
    return names, [_in_folders(root, names) for root in roots]


def _named(found: set[str], roots: Sequence[Path], todo: str, noun: str = "classes") -> list[str]:
    """Names of classes in natural order; at least two."""
    from experiments.core.names import natural

    if len(found) < 2:
        raise SpecError(f"{len(found)} {noun}", str(roots[0]), todo)
    return sorted(found, key=natural)


def _in_folders(root: Path, names: list[str]) -> list[Labelled]:
    """All images below `root`, class by class."""
    from experiments.core.data._pictures import FORMATS

    found: list[Labelled] = []
    for label, name in enumerate(names):
        files = _images(root / name)
        if not files and (root / name).is_dir():
            todo = f"put images there ({', '.join(FORMATS)}), or remove it"
            raise SpecError("a class folder without images", str(root / name), todo)
        found += [(file, label) for file in files]
    return found


def _by_pattern(root: Path, pattern: re.Pattern[str]) -> list[tuple[Path, str]]:
    """Every image below `root`, and the name of its class."""
    _folders(root)  # says what is wrong with it
    found = []
    for file in _images(root):
        match = pattern.search(file.relative_to(root).as_posix())
        name = match[pattern.groups] if match else None  # the whole where there is no group
        if not name:
            raise SpecError(
                f"data.label_pattern {pattern.pattern!r} finds no class in the file's name",
                str(file),
                "extend the pattern, or remove the file",
            )
        found.append((file, name))
    return found


def _images(folder: Path) -> list[Path]:
    """All images below a folder, sorted."""
    from experiments.core.data._pictures import FORMATS

    return [file for file in _below(folder) if file.suffix.lower() in FORMATS]


def _below(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    below: list[Path] = []
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if _seen(name)]
        below += [Path(at) / name for name in files if _seen(name)]
    return sorted(below)


def _seen(name: str) -> bool:
    """Whether a file or folder is a user's, not a leftover of an editor or operating system."""
    return not name.startswith(".") and name != "__MACOSX"


def _folders(root: Path) -> list[Path]:
    """The folders in a folder.

    Raises:
        MissingError: it is a file, or cannot be read.
    """
    try:
        return [entry for entry in root.iterdir() if entry.is_dir() and _seen(entry.name)]
    except OSError as error:
        what = f"no folder of images ({error.strerror})"
        raise MissingError(what, str(root), "name a folder with one folder for each class") from error
