"""What every method has: options, a label and a place in tables and plots. A family is a subclass without `kind`."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from experiments.core import discover
from experiments.core.block import Block

M = TypeVar("M", bound="Method")


class Method(Block):
    """A block whose `kind` is the method's name in specs and results, and whose other fields are its options.

    Attributes:
        label: what tables and plots call it; "" for its kind.
        family: what a listing calls the methods of its family.
        order: its place among the methods of its family; those of one place follow in the order of their kinds.
    """

    family: ClassVar[str] = "method"
    label: ClassVar[str] = ""
    order: ClassVar[int] = 1000

    @property
    def options(self) -> dict[str, Any]:
        """The values of the options."""
        return self.model_dump(exclude={"kind"})


def known(family: type[M]) -> dict[str, type[M]]:
    """Kind -> class of every method of a family (`Method`: all there are), in the order of tables and plots."""
    from experiments.core import estimators

    members = discover.subclasses(estimators, family)
    return dict(sorted(members.items(), key=lambda item: (item[1].order, item[0])))  # type: ignore[attr-defined]


def labels(family: type[Method]) -> dict[str, str]:
    """Kind -> label of every method of a family, in the order of tables and plots."""
    return {kind: method.label or kind for kind, method in known(family).items()}


def families() -> dict[str, dict[str, type[Method]]]:
    """What a listing calls a family -> its methods by kind."""
    methods: dict[str, dict[str, type[Method]]] = {}
    for kind, method in known(Method).items():
        methods.setdefault(method.family, {})[kind] = method
    return dict(sorted(methods.items()))
