"""Finding specs by name or path, and the papers they belong to."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.core.errors import SpecError, suggestion
from experiments.core.paper import papers
from experiments.core.spec.reader import is_file, shown
from experiments.core.spec.values import brief
from experiments.paths import configs_dir, expanded


def folders() -> list[Path]:
    """Where specs are searched for: $FEDLAB_CONFIGS, a checkout in the working directory, the packaged ones."""
    named, cwd = os.environ.get("FEDLAB_CONFIGS"), Path.cwd()
    candidates = [expanded(named)] if named else []
    if (cwd / "experiments" / "core" / "spec").is_dir() and (cwd / "configs").is_dir():
        candidates.append(cwd / "configs")
    candidates.append(configs_dir())
    return list({os.path.realpath(folder): folder for folder in candidates}.values())


def settings(paper: str | None = None) -> dict[str, list[Path]]:
    """Built-in specs by owner, sorted by name; specs in earlier folders take precedence."""
    by_paper: dict[str, dict[str, Path]] = {}
    for folder in reversed(folders()):
        for path in sorted(folder.glob("*/*.yaml")):
            if path.parent.name in papers() and paper in (None, path.parent.name):
                by_paper.setdefault(path.parent.name, {})[path.stem] = path
    return {owner: [named[stem] for stem in sorted(named)] for owner, named in sorted(by_paper.items())}


def find(name: str | Path, paper: str | None = None) -> Path:
    """The file that `name` means: a path, `influence/setting3`, `setting3`, or `3` within a paper.

    Raises:
        SpecError: no file or more than one matches.
    """
    text = str(name)
    if is_file(path := expanded(text)):
        return path
    word = text.removeprefix("configs/").removesuffix(".yaml")
    known = settings(paper)
    wanted = {word, f"setting{word}"} if word[:1].isdigit() else {word}
    hits = [p for owner, paths in known.items() for p in paths if {p.stem, f"{owner}/{p.stem}"} & wanted]
    if len(hits) == 1:
        return hits[0]
    if hits:
        both = ", ".join(f"{p.parent.name}/{p.stem}" for p in hits)
        raise SpecError(f"{text!r} is more than one spec", both, "name the folder too")
    if os.path.lexists(path) and not path.is_dir():
        raise SpecError(f"{text!r} is not a plain file", "--config", "give a YAML file, or a name from `fedlab list`")
    if "/" in text and text.endswith(".yaml") and not text.startswith("configs/"):
        raise SpecError(
            f"no file {brief(text)}", "--config", "give an existing YAML file, or a name from `fedlab list`"
        )
    names = [p.stem if paper else f"{owner}/{p.stem}" for owner, paths in known.items() for p in paths]
    places = ", ".join(shown(f / paper if paper else f) for f in folders())
    raise SpecError(f"unknown setting {brief(text)}", places, suggestion(word, names))
