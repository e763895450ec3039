"""The documentation pages, and what the tests read out of them: commands, recipes, specs, links."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Page:
    """A page of documentation, by its path below the root."""

    name: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @property
    def lines(self) -> list[str]:
        """What the blocks of shell hold, a line each, without comments."""
        blocks = re.findall(r"```sh\n(.*?)```", self.text, re.S)
        lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
        return [line for line in lines if line]

    @property
    def commands(self) -> list[str]:
        return [line for line in self.lines if line.startswith("fedlab ")]

    @property
    def inline(self) -> list[str]:
        """Commands named in running text."""
        return sorted({" ".join(code.split()) for code in re.findall(r"`(fedlab [^`]+)`", self.text)})

    @property
    def links(self) -> list[str]:
        """Targets of relative links, without anchors."""
        return [link for link in re.findall(r"\]\(([^)#]+)", self.text) if not link.startswith("http")]

    def files(self, language: str) -> dict[str, str]:
        """Name -> content of the blocks of `language` that open with the name of a file."""
        blocks = re.findall(rf"```{language}\n(# (\S+\.\w+).*?)```", self.text, re.S)
        return {name.rstrip(":"): text for text, name in blocks}


PAGES = [
    Page(path.relative_to(ROOT).as_posix())
    for path in [
        ROOT / "README.md",
        *(ROOT / folder / "README.md" for folder in ("configs", "experiments", "tests/bench")),
        *sorted(ROOT.glob("experiments/*/README.md")),
    ]
]
README, CONFIGS, EXPERIMENTS = PAGES[:3]
