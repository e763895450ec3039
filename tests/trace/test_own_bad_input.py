"""Bad input to `fedlab trace --run`: what, where and what to do in a line each, and the right exit code."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from fedlab_cli.main import main
from tests.toys import recorded as own

TOLD = {"model": {"kind": "logreg"}, "classes": 3, "shape": [4]}


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A working directory with a sound run of three clients and sound inputs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    own.save(Path("run"), own.states(nn.Sequential(nn.Linear(4, 3)), 3), **TOLD)
    np.savez("x.npz", x=np.ones((2, 4), dtype=np.float32))


def change(name, **tensors):
    """Lay `tensors` on a recorded model; None takes one away."""
    path = Path("run") / f"{name}.safetensors"
    held = {**safetensors.torch.load_file(path), **tensors}
    safetensors.torch.save_file({n: t for n, t in held.items() if t is not None}, path)


def run_file(text):
    return lambda: Path("run/run.yaml").write_text(text)


def x_file(**arrays):
    return lambda: np.savez("x.npz", **arrays)


def gone(*names):
    return lambda: [Path("run", name).unlink() for name in names]


def pickled(old, new):
    def make():
        Path("run", old).unlink()
        torch.save({"0.weight": torch.zeros(3, 4)}, Path("run", new))

    return make


def rounds(*indices):
    def make():
        for t in indices:
            Path("run/rounds", f"{t:05d}").mkdir(parents=True)
            for file in Path("run").glob("*.safetensors"):
                Path("run/rounds", f"{t:05d}", file.name).write_bytes(file.read_bytes())
        for file in Path("run").glob("*.safetensors"):
            file.unlink()

    return make


def two_runs():
    for name in ("a", "b"):
        Path("run/many", name, "rounds").mkdir(parents=True)


def round_json(text):
    return lambda: Path("run/round.json").write_text(text)


def told(participants, sizes):
    return round_json(json.dumps({"round": 3, "participants": participants, "sizes": sizes}))


def evil(path):
    """A pickle that leaves a trace when it is loaded."""

    class Evil:
        def __reduce__(self):
            return Path.touch, (Path("ran"),)

    return lambda: Path(path).write_bytes(pickle.dumps(Evil()))


def pickled_beside(name):
    return lambda: torch.save({"0.weight": W}, Path("run", name))


def renamed(old, new):
    return lambda: Path("run", old).rename(Path("run", new))


W, B = torch.zeros(3, 4), torch.zeros(3)
CASES = {
    # what is wrong: (how it is made, options after --run run, exit code, what is said, where)
    "missing tensor": (lambda: change("client_1", **{"0.bias": None}), 2, "tensor 0.bias is missing", "client_1"),
    "extra tensor": (
        lambda: change("client_2", **{"1.weight": W}),
        2,
        "tensor 1.weight is not in the model",
        "client_2",
    ),
    "misshapen tensor": (
        lambda: change("global", **{"0.weight": torch.zeros(3, 5)}),
        2,
        "tensor 0.weight has shape (3, 5), the model needs (3, 4)",
        "global",
    ),
    "another model": (
        lambda: [
            change(n, **{"0.weight": None, "0.bias": None, "body.0.weight": W, "head.0.bias": B})
            for n in ("global", "client_0", "client_1", "client_2")
        ],
        2,
        "tensor body.0.weight is not in the model",
        "global",
    ),
    "NaN in a state": (lambda: change("client_0", **{"0.bias": B / 0}), 2, "0.bias holds NaN or infinity", "client_0"),
    "overflow": (
        lambda: [change(n, **{"0.weight": W + 3e38}) for n in ("global", "client_0", "client_1")],
        1,
        "NaN or infinity",
        "trace",
    ),
    "one client": (gone("client_1.safetensors", "client_2.safetensors"), 2, "one client only", "run"),
    "no clients": (gone(*(f"client_{k}.safetensors" for k in range(3))), 2, "no client models", "run"),
    "no global model": (gone("global.safetensors"), 2, "no recorded round", "run"),
    "pickled global model": (pickled("global.safetensors", "global.pt"), 2, "a pickled file is not read", "global.pt"),
    "damaged file": (
        lambda: Path("run/client_1.safetensors").write_bytes(b"\x09\0\0"),
        2,
        "not a valid safetensors",
        "client_1",
    ),
    "a pickle in disguise": (evil("run/global.safetensors"), 2, "not a valid safetensors", "global"),
    "several runs": (
        lambda: [
            gone("global.safetensors")(),
            Path("run/x/rounds").mkdir(parents=True),
            Path("run/y/rounds").mkdir(parents=True),
        ],
        2,
        "2 recorded runs are here",
        "run",
    ),
    "client file lost": (told([0, 1, 2, 9], [1, 1, 1, 1]), 2, "no client_9.safetensors, though", "run"),
    "client file too many": (told([0, 1], [1, 1]), 2, "client_2.safetensors is there, but", "run"),
    "round.json cut": (round_json('{"round": 3, "part'), 2, "not a valid round.json", "round.json"),
    "round.json without sizes": (round_json('{"participants": [0, 1, 2]}'), 2, "no 'sizes'", "round.json"),
    "a participant twice": (told([0, 1, 2, 0], [1, 1, 1, 1]), 2, "a participant is named twice", "round.json"),
    "endless samples": (told([0, 1, 2], [float("inf"), 1, 1]), 2, "whole number of samples", "round.json"),
    "half a sample": (told([0, 1, 2], [1.5, 1, 1]), 2, "whole number of samples", "round.json"),
    "samples beyond counting": (told([0, 1, 2], [10**400, 1, 1]), 2, "whole number of samples", "round.json"),
    "round.json without end": (round_json("[" * 100_000), 2, "not a valid round.json", "round.json"),
    "sizes beyond counting": (
        run_file("classes: 3\nmodel: {kind: logreg}\nsizes: {0: 999999999999999, 1: 4, 2: 5}\n"),
        2,
        "less than or equal to",
        "run.yaml:3",
    ),
    "one of the clients pickled": (pickled_beside("client_3.pt"), 2, "a pickled file is not read", "client_3.pt"),
    "a quantised client": (
        lambda: change("client_1", **{"0.weight": W.to(torch.int8)}),
        2,
        "tensor 0.weight holds torch.int8",
        "client_1",
    ),
    "beyond the precision of the global model": (
        lambda: change("client_1", **{"0.weight": W.double() + 1e300}),
        2,
        "numbers beyond float32",
        "client_1",
    ),
    "a run file that is no mapping": (run_file("- classes\n"), 2, "a spec is a mapping", "run.yaml"),
    "classes beyond memory": (
        run_file("classes: 100000000000000\nmodel: {kind: logreg}\n"),
        2,
        "the model cannot be built",
        "run.yaml:2",
    ),
    "an empty client": (told([0, 1, 2], [4, 0, 1]), 2, "samples above 0", "round.json"),
    "no run.yaml": (gone("run.yaml"), 2, "no run.yaml", "run"),
    "no model": (run_file("classes: 3\n"), 2, "no model is given", "run.yaml"),
    "no classes": (run_file("model: {kind: logreg}\n"), 2, "classes: is required", "run.yaml"),
    "unknown kind": (run_file("classes: 3\nmodel: {kind: lograg}\n"), 2, "did you mean 'logreg'", "run.yaml:2"),
    "unknown key": (
        run_file("classes: 3\nmodel: {kind: logreg}\nsises: {0: 3}\n"),
        2,
        "did you mean 'sizes'",
        "run.yaml:3",
    ),
    "foreign code in the file": (
        run_file("classes: 3\nmodel: {kind: custom, factory: 'os:getcwd'}\n"),
        2,
        "custom is not accepted from a file",
        "run.yaml:2",
    ),
    "names of too few classes": (
        run_file("model: {kind: logreg}\nclasses: 3\nlabels: [a, b]\n"),
        2,
        "2 names for 3 classes",
        "run.yaml:3",
    ),
    "sizes of too few clients": (
        run_file("model: {kind: logreg}\nclasses: 3\nsizes: {0: 4, 2: 5}\n"),
        2,
        "no number of samples for client 1",
        "run.yaml",
    ),
    "a model for images": (
        run_file("model: {kind: torchvision, name: resnet18}\nclasses: 3\n"),
        2,
        "needs images",
        "model.name",
    ),
    "other classes": (
        run_file("model: {kind: logreg}\nclasses: 4\n"),
        2,
        "has shape (3, 4), the model needs (4, 4)",
        "global",
    ),
    "inputs of another shape": (
        x_file(x=np.ones((2, 5))),
        2,
        "inputs of shape [2, 5], but the model takes [n, 4]",
        "x.npz",
    ),
    "one input without its first dimension": (x_file(x=np.ones(4)), 2, "inputs of shape [4]", "x.npz"),
    "no inputs": (x_file(x=np.ones((0, 4))), 2, "inputs of shape [0, 4]", "x.npz"),
    "whole numbers": (x_file(x=np.ones((2, 4), dtype=np.uint8)), 2, "takes floating-point numbers", "x.npz"),
    "words": (x_file(x=np.array([["a", "b", "c", "d"]])), 2, "inputs of type <U1", "x.npz"),
    "NaN in the inputs": (x_file(x=np.array([[1.0, 1, 1, 1], [0, np.nan, 0, 0]])), 2, "input 1 holds NaN", "x.npz"),
    "no such array": (x_file(z=np.ones((2, 4))), 2, "no inputs in the file (it holds z)", "x.npz"),
    "too few labels": (
        x_file(x=np.ones((2, 4)), labels=np.array([1])),
        2,
        "2 inputs, but labels of shape [1]",
        "x.npz",
    ),
    "a label that is no class": (
        x_file(x=np.ones((2, 4)), y=np.array([1, 3])),
        2,
        "label 3 of input 1 is outside 0..2",
        "x.npz",
    ),
    "pickled inputs": (x_file(x=np.array([{}, None], dtype=object)), 2, "not a valid .npz file", "x.npz"),
    "cut npz": (
        lambda: Path("x.npz").write_bytes(Path("x.npz").read_bytes()[:-40]),
        2,
        "not a valid .npz file",
        "x.npz",
    ),
    "a pickle called npz": (evil("x.npz"), 2, "not a valid .npz file", "x.npz"),
    "inputs not there": (lambda: Path("x.npz").unlink(), 4, "no file of inputs", "x.npz"),
}
OPTIONS = {
    "no such folder": (["--run", "nowhere"], 4, "no folder of a recorded run", "nowhere"),
    "a file for a folder": (["--run", "x.npz"], 4, "no folder of a recorded run", "x.npz"),
    "a round where one lies flat": (["--run", "run", "--round", "2"], 2, "round 2 is not recorded", "run"),
    "no inputs named": (["--run", "run"], 2, "no inputs are given", "run"),
    "pickled inputs": (["--run", "run", "--inputs", "x.pt"], 2, "a pickled file is not read", "x.pt"),
    "text for inputs": (["--run", "run", "--inputs", "x.csv"], 4, "no file of inputs", "x.csv"),
    "unknown name": (
        ["--run", "run", "--inputs", "x.npz", "--model", "resnet19"],
        2,
        "did you mean resnet18",
        "model.name",
    ),
    "module that is not": (
        ["--run", "run", "--inputs", "x.npz", "--model", "nonets:small"],
        2,
        "cannot import nonets",
        "--model nonets:small",
    ),
    "csv into nowhere": (
        ["--run", "run", "--inputs", "x.npz", "--csv", "no/such/out.csv"],
        4,
        "no folder to write the table into",
        "no/such/out.csv",
    ),
    "a long name": (["--run", "r" * 5000], 4, "cannot read the recorded run", "rrr"),
    "a long name of inputs": (["--run", "run", "--inputs", "x" * 5000], 4, "cannot read the inputs", "xxx"),
    "device": (["--run", "run", "--inputs", "x.npz", "--device", "tpu"], 4, "tpu", ""),
    "inputs without a run": (["--inputs", "x.npz"], 2, "--inputs goes together with --run", "fedlab trace"),
    "a setting with a run": (
        ["--run", "run", "--setting", "faults"],
        2,
        "--setting does not go together with --run",
        "",
    ),
    "a scale with a run": (["--run", "run", "--scale", "paper"], 2, "--scale does not go together with --run", ""),
    "decay above one": (["--run", "run", "--decay", "1.5"], 2, "", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_files(capsys, case):
    spoil, code, said, where = CASES[case]
    spoil()
    own.refused(capsys, ["--run", "run", "--inputs", "x.npz", "--device", "cpu", "--quiet"], code, said, where)


@pytest.mark.parametrize("case", OPTIONS)
def test_options(capsys, case):
    own.refused(capsys, *OPTIONS[case])


def test_the_folder_of_the_table_is_looked_for_before_the_work(capsys):
    own.refused(capsys, ["--run", "nowhere", "--csv", "no/such/out.csv"], 4, "the table", "no/such/out.csv")


def test_a_folder_that_may_not_be_read(capsys, monkeypatch):
    def locked(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", locked)
    own.refused(capsys, ["--run", "run"], 4, "cannot read the recorded run (Permission denied)", "run")


def test_odd_digits_in_names(capsys):
    renamed("client_2.safetensors", "client_\u00b2.safetensors")()
    assert main(["trace", "--run", "run", "--inputs", "x.npz", "--device", "cpu"]) == 0


def test_the_folder_of_a_round_from_inside(capsys, monkeypatch):
    rounds(3)()
    monkeypatch.chdir("run/rounds/00003")
    assert main(["trace", "--run", ".", "--inputs", "../../../x.npz", "--device", "cpu"]) == 0
    assert "most responsible of round 3" in capsys.readouterr().out


def test_two_clients_of_one_name_are_told_apart(capsys):
    run_file("classes: 3\nmodel: {kind: logreg}\nclients: {0: A, 1: A, 2: A}\n")()
    assert main(["trace", "--run", "run", "--inputs", "x.npz", "--device", "cpu"]) == 0
    assert "client A (" in capsys.readouterr().out.splitlines()[-1]


def test_a_round_that_was_not_recorded(capsys):
    rounds(3, 4, 7)()
    arguments = ["--run", "run", "--inputs", "x.npz", "--round"]
    own.refused(capsys, [*arguments, "5"], 2, "recorded: 3, 4, 7", "rounds")
    assert main(["trace", *arguments, "4", "--device", "cpu"]) == 0


def test_the_sound_run_is_sound(capsys):
    assert main(["trace", "--run", "run", "--inputs", "x.npz", "--device", "cpu"]) == 0
    assert "most responsible, 2 inputs: client" in capsys.readouterr().out
