"""Every YAML under configs/ is sound at every scale, and says at its head what it is."""

from pathlib import Path

import pytest
import yaml

from experiments.core.paper import papers
from experiments.core.spec.load import load
from experiments.core.spec.tree import SCALES
from experiments.paths import configs_dir

CONFIGS = sorted(p for p in configs_dir().rglob("*.yaml") if p.name != "base.yaml")
IDS = [f"{p.parent.name}/{p.stem}" for p in CONFIGS]
REFERENCE = {
    "setting1": ("leaf_logreg", "leaf_synthetic", 0.003, 1000, 10, 5, 1000),
    "setting2": ("cnn1", "femnist", 0.03, 50, 5, 2, 500),
    "setting3": ("cnn2", "femnist", 0.02, 100, 10, 2, 2000),
}
"""Table 2 of Xue et al. 2021: model, data, eta, clients, per round, m, T."""


def test_the_folder_was_found():
    assert len(CONFIGS) >= 9


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_valid_at_every_scale(path: Path, scale: str):
    found = load(path, None, scale)
    assert (found.spec.paper, found.spec.name, found.spec.scale) == (path.parent.name, path.stem, scale)


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_the_head_names_command_and_cost(path: Path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("Command:" in line and f"fedlab {path.parent.name} " in line for line in head)
    assert any("Cost:" in line for line in head)
    spec = load(path).spec
    assert spec.title
    assert spec.cost


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_every_scale_is_named(path: Path):
    named = yaml.safe_load(path.read_text())
    if "setting" in str(named.get("extends", "")):
        pytest.skip("scales come from the setting it extends")
    assert set(named["scales"]) == set(SCALES)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_expands_to_cells_with_names_of_their_own(path: Path, scale: str):
    found = load(path, None, scale)
    cells = found.paper.resolve("cells")(found.spec)
    assert cells
    assert len({cell.id for cell in cells}) == len(cells)
    assert {(cell.paper, cell.setting, cell.scale) for cell in cells} == {(found.spec.paper, found.spec.name, scale)}
    if scale == "smoke":
        assert sum(cell.work for cell in cells) < 60


@pytest.mark.parametrize("name", sorted(REFERENCE))
@pytest.mark.parametrize("suffix", ["", "-digits"])
def test_paper_scale_is_table_2(name: str, suffix: str):
    if name + suffix == "setting1-digits":
        pytest.skip("setting 1 needs no stand-in")
    spec = load(name + suffix, "influence", "paper").spec
    model, data, lr, clients, per_round, m, T = REFERENCE[name]
    assert (spec.model.kind, spec.local.lr, spec.local.steps) == (model, lr, m)
    assert (spec.known_clients, spec.clients_per_round, spec.rounds) == (clients, per_round, T)
    assert spec.data.kind == ("mnist_by_writer" if suffix else data)
    assert spec.gradients == 50
    assert spec.init == "glorot_uniform"
    assert spec.algorithm.kind == "fedavg"
    assert (spec.local.epochs, spec.local.momentum, spec.local.weight_decay) == (None, 0.0, 0.0)


def test_what_the_text_says_beside_table_2():
    one, two, three = (load(f"setting{i}", "influence", "paper").spec for i in (1, 2, 3))
    assert (one.counted, two.counted, three.counted) == (200, None, None)
    assert (one.cleansing.round, two.cleansing, three.cleansing.round) == (700, None, 1500)
    assert one.cleansing.fractions == three.cleansing.fractions == (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert (two.partition.kind, two.partition.samples_per_client) == ("iid", 50)
    assert (two.variants[-1].truncation, three.variants[-1].truncation) == ("iid", "noniid")
    assert {s.ranking_interval for s in (one, two, three)} == {100}
    assert {s.ranking_share for s in (one, two, three)} == {0.05}
    assert (one.data.dims, one.data.classes, one.model.sigmoid) == (60, 5, True)


def test_every_paper_has_its_main_setting():
    for name, paper in papers().items():
        assert (name, paper.main) in {(p.parent.name, p.stem) for p in CONFIGS}
