"""Finding the members of a family (datasets, models, formulations, papers) by scanning its folder.

A member is added by adding a file; there is no list to maintain.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Import and yield every public module of `package`, in the order of their names."""
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        if not info.name.startswith("_"):
            yield importlib.import_module(f"{package.__name__}.{info.name}")


def subclasses(package: ModuleType, base: type) -> dict[str, type]:
    """Name -> class, for every subclass of `base` defined in a module of `package`.

    A pydantic block is named by the default of its `kind` field, any other class by its attribute `name`.
    """
    members: dict[str, type] = {}
    for module in modules(package):
        for item in vars(module).values():
            if isinstance(item, type) and issubclass(item, base) and item.__module__ == module.__name__:
                fields = getattr(item, "model_fields", {})
                name = fields["kind"].default if "kind" in fields else getattr(item, "name", "")
                if name:
                    members[name] = item
    return dict(sorted(members.items()))
