from pathlib import Path

import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides

GOOD = """paper: train
data: {kind: leaf_synthetic, clients: 20}
partition: {kind: natural}
model: {kind: leaf_logreg}
local: {lr: 0.1, steps: 2}
rounds: 20
clients_per_round: 5
"""


@pytest.fixture
def spec(tmp_path):
    def write(text: str, name: str = "mine") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


def faults(path, **options) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, **options)
    return [f.replace(str(path), "F") for f in caught.value.faults] or [str(caught.value).replace(str(path), "F")]


def test_a_good_spec(spec):
    found = load(spec(GOOD), scale="paper", overrides=read_overrides(["local.lr=1e-2", "seeds=[3, 4]"]))
    assert (found.spec.name, found.spec.paper, found.spec.scale) == ("mine", "train", "paper")
    assert (found.spec.local.lr, found.spec.seeds, found.spec.data.clients) == (0.01, (3, 4), 20)
    assert found.origins["local.lr"] == "--set local.lr=1e-2"
    assert found.origins["local.steps"].endswith("mine.yaml:5")
    assert found.origins["local.momentum"] == "default"


def test_all_faults_at_once_with_their_places(spec):
    text = (
        GOOD.replace("lr: 0.1", "lr: '0.1', alfa: 3").replace("rounds: 20", "rounds: 0\nseeds: [1, x]") + "rounds: 3\n"
    )
    text = text.replace("kind: natural", "kind: iid, clients: 4, sample_per_client: 9")
    assert faults(spec(text), overrides=read_overrides(["dtype=float16"])) == [
        "--set dtype=float16: dtype: unknown value 'float16'; did you mean 'float64'?",
        "F:3: partition.sample_per_client: unknown key; did you mean 'samples_per_client'?",
        "F:5: local.alfa: unknown key; " + faults_known(),
        "F:5: local.lr: input should be a valid number (got '0.1')",
        "F:6: rounds: input should be greater than or equal to 1 (got 0)",
        "F:7: seeds.1: input should be a valid integer (got 'x')",
        "F:9: rounds: duplicate key, first given in line 6",
    ]


def faults_known() -> str:
    from experiments.core.spec.fields import LocalSpec

    return "known: " + ", ".join(sorted(LocalSpec.model_fields))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: natural", "kind: naturl", "F:3: partition.kind: unknown kind 'naturl'; did you mean 'natural'?"),
        ("{kind: natural}", "{clients: 3}", "partition.kind: needs a `kind`"),
        ("rounds: 20\n", "", "rounds: is required"),
        (
            "clients_per_round: 5",
            "clients_per_round: 21",
            "F:7: clients_per_round: 21 a round, but there are 20 clients",
        ),
        ("steps: 2", "steps: 2, epochs: 1, batch_size: 3", "F:5: local.steps: give either"),
        ("steps: 2", "epochs: 1", "local.batch_size: goes together"),
        ("steps: 2", "steps: 2, nesterov: true", "local.nesterov: needs a momentum"),
        ("steps: 2", "steps: 2, optimizer: adagrad", "F:5: local.optimizer: unknown value 'adagrad'; known: adam"),
        ("steps: 2", "steps: 2, optimizer: adam, momentum: 0.9", "local.optimizer: momentum and nesterov go with sgd"),
        ("rounds: 20", "rounds: 20\nprivacy: {clip: 0, noise: 1}", "F:7: privacy.clip: input should be greater than 0"),
        ("rounds: 20", "rounds: 20\nprivacy: {clip: 1, noise: -1}", "privacy.noise: input should be greater than or"),
        ("rounds: 20", "rounds: 20\nprivacy: {clip: 1}", "privacy.noise: is required"),
        ("rounds: 20", "rounds: 20\nprivacy: {clip: 1, noise: 1, delta: 1}", "privacy.delta: input should be less"),
        ("steps: 2", "steps: 2, lr_schedule: exponential", "local.gamma"),
        ("steps: 2", "steps: true", "local.steps: input should be a valid integer"),
        ("lr: 0.1", "lr: .inf", "local.lr: input should be a finite number"),
        ("lr: 0.1", "lr: .nan", "local.lr: input should be"),
        (
            "rounds: 20",
            "rounds: 20\nsince: 21\nexclude_clients: [1]",
            "F:7: since: round 21 is after the last round 20",
        ),
        ("rounds: 20", "rounds: 20\nsince: 2", "since: goes together"),
        (
            "rounds: 20",
            "rounds: 20\nexclude_clients: [3, 20]",
            "exclude_clients: unknown client '20'; clients are 0 to 19",
        ),
        ("rounds: 20", "rounds: 20\nseeds: [1, 1]", "seeds: a seed is named twice"),
        ("rounds: 20", "rounds: 20\nseeds: []", "seeds"),
        ("paper: train", "paper: trian", "no paper 'trian'"),
        ("data: {kind: leaf_synthetic, clients: 20}", "data: 3", "data"),
        ("{kind: leaf_logreg}", "{kind: custom, factory: 'os:getcwd'}", "custom is not accepted from a file"),
    ],
)
def test_one_fault(spec, old, new, said):
    found = faults(spec(GOOD.replace(old, new)))
    assert len(found) == 1
    assert said in found[0]


def test_excluding_everybody(spec):
    text = GOOD + f"exclude_clients: {list(range(20))}\n"
    assert "nobody is left" in faults(spec(text))[0]


def test_one_fault_is_told_in_three_parts(spec):
    with pytest.raises(SpecError) as caught:
        load(spec(GOOD.replace("rounds: 20", "rownds: 20\nrounds: 3")))
    assert caught.value.what == "rownds: unknown key"
    assert caught.value.where.endswith("mine.yaml:6")
    assert caught.value.todo == "did you mean 'rounds'?"


def test_the_paper_must_fit(spec):
    assert "belongs to 'train'" in faults(spec(GOOD), paper="influence")[0]
    unnamed = spec(GOOD.replace("paper: train\n", ""), "other")
    assert load(unnamed, paper="train").spec.paper == "train"
    assert "no paper" in faults(unnamed)[0]


def test_a_model_of_ones_own_comes_from_the_command_line_only(spec):
    found = load(spec(GOOD), model_factory="nets:small").spec
    assert (found.model.kind, found.model.factory) == ("custom", "nets:small")
    assert (
        "not accepted"
        in faults(spec(GOOD), overrides=read_overrides(["model.kind=custom", "model.factory='os:getcwd'"]))[0]
    )


def test_a_model_of_ones_own_keeps_its_weights_unless_the_command_line_names_a_scheme(spec):
    path = spec(GOOD + "init: default\n")
    found = load(path, model_factory="nets:small")
    assert (found.spec.init, found.origins["init"]) == ("keep", "--model nets:small")
    assert load(path, model_factory="nets:small", overrides=read_overrides(["init=koh_liang"])).spec.init == "koh_liang"
    assert load(path).spec.init == "default" and load(spec(GOOD)).spec.init == "glorot_uniform"
    (axis,) = load("groups", "fragility", "paper", model_factory="nets:small").spec.grid.values()
    assert {choice["init"] for choice in axis.values() if "init" in (choice or {})} == {"keep"}


@pytest.mark.parametrize(
    "axis",
    [
        "{task: {a: {model: {kind: custom, factory: 'os:getcwd'}}}}",
        "{task: {a: {model.kind: custom, model.factory: 'os:getcwd'}}}",
        "{model: [{kind: logreg}, {kind: custom, factory: 'os:getcwd'}]}",
        "{model.kind: [custom], model.factory: ['os:getcwd']}",
    ],
)
def test_no_axis_names_code_either(spec, axis):
    text = GOOD.replace("train", "trace").replace("{lr: 0.1, steps: 2}", "{lr: 0.1, epochs: 1, batch_size: 8}")
    assert load(spec(text)).spec.model.kind == "leaf_logreg"
    assert "custom is not accepted" in faults(spec(text + f"grid: {axis}\n"))[0]


def test_the_command_line_reaches_every_point_of_a_grid():
    found = load(
        "trace/localization",
        scale="small",
        overrides=read_overrides(["data.keep_train=77"]),
        model_factory="nets:small",
    ).spec
    chosen = [keys for keys in found.grid["task"].values() if keys]
    assert len(chosen) == 5
    assert all(keys["data"]["keep_train"] == 77 for keys in chosen)
    assert all(keys["model"]["factory"] == "nets:small" for keys in chosen if "model" in keys)
    stood_in = load("trace/localization", scale="small", data_override="digits").spec
    assert all(keys["data"] == {"kind": "sklearn_digits"} for keys in stood_in.grid["task"].values() if keys)


def test_unknown_scale(spec):
    assert "did you mean 'smoke'" in faults(spec(GOOD), scale="smok")[0]


def test_the_experiment_chooses_the_class(spec):
    from experiments.influence.spec import CostSpec

    assert isinstance(load("influence/table1").spec, CostSpec)
    assert "unknown value 'costs'" in faults(spec("paper: influence\nexperiment: costs\n"))[0]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("cleansing.round=250", "cleansing.round"), ("cleansing.fractions=[0, 1]", "cleansing.fractions"),
        ("counted=1001", "counted"), ("tracked_client=1000", "tracked_client"),
        ("clients_per_round=1", "clients_per_round"),
        ("variants=[basic, basic]", "variants"), ("variants=[basc]", "variants.0.kind"), ("lwet=both", "lwet"),
        ("ranking_share=0.7", "ranking_share"),
    ],
)  # fmt: skip
def test_faults_of_an_influence_setting(change, key):
    with pytest.raises(SpecError) as caught:
        load("setting1", overrides=read_overrides([change]))
    assert [f.split(": ")[1] for f in caught.value.faults] == [key]
    assert caught.value.where == f"--set {change}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("local.optimizer=adam", "local.optimizer: Eq. 10 is derived for plain gradient steps, not for adam"),
        ("privacy={clip: 1, noise: 0.1}", "privacy: Eq. 10 is derived for the plain mean"),
    ],
)
def test_influence_refuses_what_its_equations_do_not_cover(override, said):
    (found,) = faults("setting1", overrides=read_overrides([override]))
    assert said in found
