"""Names from data are drawn letter by letter; formulas are ours alone."""

import io

import pytest

from experiments.core.report.artefacts import png_bytes
from experiments.core.report.style import formula, new_figure


def drawn(name: str, label: str = "x") -> bytes:
    def figure():
        made, (ax,) = new_figure()
        ax.plot([1, 10], [1, 10], label=name)
        ax.set_title(name)
        ax.set_xlabel(label)
        ax.set_xscale("log")
        ax.set_yticks([1, 10], [name, name])
        ax.legend()
        return made

    return png_bytes(figure)


@pytest.mark.parametrize("name", [r"$\frac$", "$a$", r"$\mathdefault{\frac}$", "cost $5 to $7", r"$\input{x}$ $"])
def test_a_dollar_in_a_name_is_a_dollar(name):
    from matplotlib.image import imread

    plain = drawn(name)
    assert imread(io.BytesIO(plain)).std() > 0
    assert plain != drawn(name.replace("$", ""))


def test_our_formulas_are_set_as_formulas():
    from matplotlib.figure import Figure

    from experiments.core.report.style import literal

    figure = Figure()
    ours, log, theirs = (figure.text(0, 0, t) for t in (formula(r"\alpha"), r"$\mathdefault{10^{-3}}$", r"$\beta$"))
    literal(figure)
    assert (ours.get_parse_math(), log.get_parse_math(), theirs.get_parse_math()) == (True, True, False)
