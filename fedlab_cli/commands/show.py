"""`fedlab show NAME`: the resolved spec, and where each value comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml

from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.core.spec.reader import shown
from fedlab_cli import console
from fedlab_cli import options as o

Name = Annotated[str, typer.Argument(help="Setting (setting1, influence/setting1) or YAML file.")]
Origin = Annotated[bool, typer.Option("--origin", help="Print where each value was written.")]


def show(
    name: Name,
    scale: o.ScaleOption = o.Scale.small,
    set_: o.Set = None,
    data: o.Data = None,
    origin: Origin = False,
    as_json: o.Json = False,
) -> None:
    """The resolved spec of a setting, defaults filled in."""
    console.setup(as_json)
    loaded = load(name, None, scale.value, read_overrides(set_ or ()), data_override=data)
    values = loaded.spec.model_dump(mode="json")
    if as_json:
        console.dump({"file": shown(loaded.path), "spec": values, **({"origins": loaded.origins} if origin else {})})
        return
    console.say(f"# {shown(loaded.path)} at --scale {scale.value}")
    if not origin:
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
        console.listing(text.rstrip().split("\n"))
        return
    width = max(map(len, loaded.origins))
    for key, source in loaded.origins.items():
        value: object = values
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else None
        console.say(f"{key:<{width}}  {json.dumps(value, ensure_ascii=False)}  # {source}")
