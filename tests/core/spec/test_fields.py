import pytest

from experiments.core.spec.fields import AveragePrivacy, CustomModel, LocalSpec, RunSpec, SgdPrivacy
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides


def test_every_field_is_described():
    blocks = [RunSpec, LocalSpec, AveragePrivacy, SgdPrivacy, CustomModel]
    assert all(f.description for b in blocks for key, f in b.model_fields.items() if key != "kind")


def test_specs_are_frozen():
    spec = load("setting1").spec
    with pytest.raises(ValueError, match="frozen"):
        spec.rounds = 3


@pytest.mark.parametrize(
    ("name", "changes", "known"),
    [
        ("setting1", [], 1000), ("setting2", [], 50), ("setting3", [], 100), ("setting3", ["data.writers=null"], None),
        ("setting1", ["partition={kind: dirichlet, clients: 12}", "counted=null"], 12),
    ],
)  # fmt: skip
def test_known_clients(name, changes, known):
    assert load(name, overrides=read_overrides(changes)).spec.known_clients == known


def test_a_custom_model_is_built_by_its_factory(tmp_path, monkeypatch):
    (tmp_path / "own_net_of_test.py").write_text(
        "from torch import nn\ndef make(shape, classes):\n return nn.Linear(shape[0], classes)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    built = CustomModel(factory="own_net_of_test:make").build((3,), 2)
    assert (built.in_features, built.out_features) == (3, 2)
