"""Tables of one's own: dialects, columns nobody meant, faults by their line, test sets, regression."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from experiments.core.data.csv import Csv
from experiments.core.data.dirichlet_balanced import DirichletBalanced
from experiments.core.data.partition import Dirichlet, Iid, Natural, Shards
from experiments.core.errors import MissingError, SpecError

HEADER = "hospital,age,dose,outcome"


def table(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def cases(n=40):
    return [f"{'north' if k % 2 else 'south'},{k + 0.5},{k / 2},{'well' if k % 3 else 'ill'}" for k in range(n)]


def load(folder, **options):
    given = {"path": "cases.csv", "label": "outcome", "client": "hospital", **options}
    return Csv.model_validate(given).load(0, folder)


def test_clients_and_words_as_labels(tmp_path):
    table(tmp_path / "cases.csv", cases())
    pool = load(tmp_path, train_fraction=0.5, standardise=False)
    assert (pool.x.shape, pool.test_x.shape, pool.classes, pool.names) == ((20, 2), (20, 2), 2, ("north", "south"))
    for x, y, owner, line in zip(pool.x, pool.y, pool.owner, pool.lines, strict=True):
        k = int(x[0] - 0.5)
        assert x[1] == k / 2 and y == (1 if k % 3 else 0) and owner == (0 if k % 2 else 1) and line == k + 2
    assert Natural().split(pool, 0).sizes == (10, 10)


def test_standardised_by_the_training_rows_unless_told_not_to(tmp_path):
    table(tmp_path / "cases.csv", [f"x,{1e6 + k + 0.5},0.1,{k % 2}" for k in range(50)])
    options = {"client": None, "ignore": ["hospital"]}
    pool, plain = load(tmp_path, **options), load(tmp_path, **options, standardise=False)
    assert pool.owner.tolist() == [-1] * 40 and plain.notes == ()
    assert "each feature is shifted and scaled" in pool.notes[0]
    age = plain.x[:, 0].double().numpy()
    assert np.allclose(pool.x[:, 0], (age - age.mean()) / age.std(), atol=1e-4)
    test = plain.test_x[:, 0].double().numpy()
    assert np.allclose(pool.test_x[:, 0], (test - age.mean()) / age.std(), atol=1e-4)
    assert (pool.x[:, 1] == 0).all() and (pool.test_x[:, 1] == 0).all()  # a constant column has no scale


WRONG = {
    "too long": (["a,1,2,0", "a,1,2,0,9"], "line 3 has 5 fields, the header 4"),
    "too short": (["a,1,2,0", "a,1"], "line 3 has 2 fields, the header 4"),
    "one field": (["a,1,2,0", "a"], "line 3 has 1 field, the header 4"),
    "a gap": (["a,1,2,0", "a,,2,1"], "line 3 has no value in column 'age'"),
    "no client": (["a,1,2,0", " ,1,2,1"], "line 3 has no value in column 'hospital'"),
    "no label": (["a,1,2,0", "a,1,2,"], "line 3 has no value in column 'outcome'"),
    "words": (["a,1,2,0", "a,x,2,1"], "column 'age' holds 'x' in line 3, which is not a number"),
    "after blank and quoted lines": (['"a\nb",1,2,0', "", "a,x,2,1"], "column 'age' holds 'x' in line 5"),
    "thousands": (['a,"1,234",2,0', "a,1,2,1"], "column 'age' holds '1,234' in line 2"),
    "thousands with a fraction": (['a,"1,234.5",2,0', "a,1,2,1"], "holds '1,234.5' in line 2"),
    "thousands by underscores": (["a,1_000,2,0", "a,1,2,1"], "holds '1_000' in line 2"),
    "one label": (["a,1,2,0", "a,1,2,0", "a,1,2,0"], "training samples have the label 0"),
    "infinite": (["a,inf,2,0", "a,1,2,1"], "holds 'inf' in line 2"),
    "not a number": (["a,nan,2,0", "a,1,2,1"], "holds 'nan' in line 2"),
    "beyond floats": (["a,1e400,2,0", "a,1,2,1"], "holds '1e400' in line 2"),
    "beyond float32": (["a,1e200,2,0", "a,1,2,1", "b,3,4,0", "b,3,4,1"], "holds NaN or infinity"),
    "an open quote": (["a,1,2,0", 'a,"1,2,1'], "line 3 is not valid csv"),
    "a stray quote": (["a,1,2,0", 'a,"1"1,2,1'], "line 3 is not valid csv"),
    "the character 0": (["a,1,2,0", "a,1\0,2,1"], "line 3 holds the character 0"),
    "no rows": ([], "0 rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_faults_name_their_line(tmp_path, case):
    rows, said = WRONG[case]
    table(tmp_path / "cases.csv", rows)
    with pytest.raises(SpecError, match=said) as caught:
        load(tmp_path, standardise=False)
    assert "cases.csv" in caught.value.where and caught.value.todo and "\n" not in str(caught.value)


HEADERS = {
    "another label": (HEADER, {"label": "x"}, "no column 'x'", "it has hospital, age, dose, outcome"),
    "another client": (HEADER, {"client": "x"}, "no column 'x'", "it has hospital"),
    "another feature": (HEADER, {"features": ["x"]}, "no column 'x'", "it has hospital"),
    "another ignored one": (HEADER, {"ignore": ["x"]}, "no column 'x'", "it has hospital"),
    "twice": ("hospital,age,age,outcome", {}, "two columns are called 'age'", "rename"),
    "semicolons": (HEADER.replace(",", ";"), {}, "separated by ';', not by ','", "data.separator: ';'"),
    "tabs": (HEADER.replace(",", "\t"), {}, r"separated by '\\t', not by ','", "data.separator"),
    "semicolons for a comma": (HEADER, {"separator": ";"}, "separated by ',', not by ';'", "data.separator: ','"),
    "none": ("a,1,2,0", {"label": "outcome"}, "no column 'outcome'", "it has a, 1, 2, 0"),
    "numbers": ("5,1,2,0", {}, "line 1 holds numbers, not the names of columns", "put a header there"),
    "nameless": ("hospital,,dose,outcome", {}, "a column without a name", "data.ignore"),
    "nothing but words": ("hospital,age,dose,outcome", {"ignore": ["age", "dose"]}, "no feature columns", "numbers"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(tmp_path, case):
    header, options, said, todo = HEADERS[case]
    separator = next((sign for sign in ";\t" if sign in header), ",")
    table(tmp_path / "cases.csv", [row.replace(",", separator) for row in cases(6)], header)
    with pytest.raises(SpecError, match=said) as caught:
        load(tmp_path, **options)
    assert todo in caught.value.todo and "cases.csv" in caught.value.where


def test_an_empty_file_and_none(tmp_path):
    (tmp_path / "cases.csv").write_text("")
    with pytest.raises(SpecError, match="an empty file"):
        load(tmp_path)
    (tmp_path / "cases.csv").unlink()
    with pytest.raises(MissingError, match="no data at"):
        load(tmp_path)
    (tmp_path / "cases.csv").mkdir()
    with pytest.raises(MissingError, match="cannot read the file"):
        load(tmp_path)


@pytest.mark.parametrize(
    "column",
    ["0,1,2,3,4,5", "1,2,3,4,5,6", "5,3,1,2,0,4", "1.0,2.0,3.0,4.0,5.0,6.0"],
)
def test_a_column_that_counts_the_rows_is_refused_by_name(tmp_path, column):
    rows = [f"{at},{row}" for at, row in zip(column.split(","), cases(6), strict=True)]
    table(tmp_path / "cases.csv", rows, "row," + HEADER)
    with pytest.raises(SpecError, match="column 'row' counts the rows") as caught:
        load(tmp_path)
    assert "data.ignore: ['row']" in caught.value.todo
    assert load(tmp_path, ignore=["row"]).x.shape[1] == 2
    assert load(tmp_path, features=["row", "age"]).x.shape[1] == 2  # who lists it means it


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_row_numbers_of_pandas_are_refused(tmp_path, name):
    table(tmp_path / "cases.csv", [f"{7 * k % 11},{row}" for k, row in enumerate(cases(6))], f"{name},{HEADER}")
    with pytest.raises(SpecError, match=r"without a name|stands for none"):
        load(tmp_path)
    assert load(tmp_path, ignore=[name]).x.shape[1] == 2


def test_identifiers_are_no_numbers_and_no_classes(tmp_path):
    table(tmp_path / "cases.csv", [f"P-{k},{row}" for k, row in enumerate(cases(50))], "patient," + HEADER)
    with pytest.raises(SpecError, match="column 'patient' holds 'P-0' in line 2") as caught:
        load(tmp_path)
    assert "data.ignore" in caught.value.todo
    with pytest.raises(SpecError, match="40 different labels in 40 training rows: no classes"):
        load(tmp_path, label="patient", ignore=["outcome"])


def test_names_are_text_and_na_is_a_word_unless_said(tmp_path):
    rows = [f"{['01', '1', 'NA', 'None'][k % 4]},{k + 0.5},{['None', 'null'][k % 3 > 0]}" for k in range(24)]
    table(tmp_path / "cases.csv", rows, "hospital,age,outcome")
    pool = load(tmp_path)
    assert set(pool.names) == {"01", "1", "NA", "None"} and pool.classes == 2
    with pytest.raises(SpecError, match="line 4 has no value in column 'hospital'"):
        load(tmp_path, na=["", "NA"])
    table(tmp_path / "cases.csv", ["a,-999,2,0", "a,1,2,1"])
    with pytest.raises(SpecError, match="line 2 has no value in column 'age'"):
        load(tmp_path, na=["", "-999"])


def test_truth_values_are_numbers(tmp_path):
    table(tmp_path / "cases.csv", [f"a,{k % 2 == 0},{k + 0.5},{k % 2}" for k in range(8)])
    pool = load(tmp_path, standardise=False)
    assert set(pool.x[:, 0].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings(tmp_path, encoding):
    text = "\n".join([HEADER, *(row.replace("north", "Köln") for row in cases())])
    (tmp_path / "cases.csv").write_bytes(text.encode(encoding))
    assert load(tmp_path, encoding=encoding.removesuffix("-sig")).names == ("Köln", "south")
    if not encoding.startswith("utf-8"):
        with pytest.raises(SpecError, match="the file is not in utf-8") as caught:
            load(tmp_path)
        assert ("utf-16" if encoding == "utf-16" else "latin-1") in caught.value.todo
        assert encoding == "utf-16" or "(line 3: b'K" in caught.value.what


def test_decimal_commas(tmp_path):
    german = [row.replace(",", ";").replace(".", ",") for row in cases()]
    table(tmp_path / "cases.csv", german, HEADER.replace(",", ";"))
    with pytest.raises(SpecError, match="holds '0,5' in line 2") as caught:
        load(tmp_path, separator=";")
    assert "data.decimal: ','" in caught.value.todo
    pool = load(tmp_path, separator=";", decimal=",", standardise=False)
    table(tmp_path / "cases.csv", cases())
    assert torch.equal(pool.x, load(tmp_path, standardise=False).x)
    table(tmp_path / "cases.csv", ["a;1.234;2;0", "a;1.234,5;2;1"], HEADER.replace(",", ";"))
    with pytest.raises(SpecError, match=r"holds '1\.234' in line 2"):
        load(tmp_path, separator=";", decimal=",")  # a thousand, and not 1.234


@pytest.mark.parametrize("wrong", [
    {"encoding": "base64"}, {"encoding": "klingon"}, {"separator": "ab"}, {"separator": ""}, {"separator": "\n"},
    {"separator": ",", "decimal": ","}, {"test": "a.csv", "split": "part"}, {"test_clients": []},
    {"test_clients": ["a"], "client": None}, {"features": ["outcome"]}, {"features": ["age"], "ignore": ["age"]},
])  # fmt: skip
def test_fields_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        Csv.model_validate({"path": "cases.csv", "label": "outcome", "client": "hospital", **wrong})


def zipped(raw):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cases.csv", raw)
    return out.getvalue()


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped}


@pytest.mark.parametrize("suffix", PACKED)
def test_packed_tables_whole_cut_and_grown(tmp_path, suffix, monkeypatch):
    raw = table(tmp_path / "cases.csv", cases()).read_bytes()
    path = tmp_path / f"cases.csv{suffix}"
    path.write_bytes(PACKED[suffix](raw))
    assert torch.equal(load(tmp_path, path=path.name).x, load(tmp_path).x)
    path.write_bytes(PACKED[suffix](raw)[:-30])
    with pytest.raises(SpecError, match=r"damaged|cut|ended"):
        load(tmp_path, path=path.name)
    path.write_bytes(PACKED[suffix](b"0" * 100_000))
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: 200_000)
    with pytest.raises(SpecError, match="a quarter of the memory that is free"):
        load(tmp_path, path=path.name)


def test_the_same_numbers_as_pandas(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(9000, 3)) * 1e3, columns=["a", "b", "c"])
    frame["label"] = rng.integers(0, 3, 9000)
    frame.to_csv(tmp_path / "cases.csv", index=False)  # more rows than are read at a time
    pool = Csv(path="cases.csv", standardise=False).load(0, tmp_path)
    rows = pool.lines.numpy() - 2
    assert np.allclose(pool.x.numpy(), frame[["a", "b", "c"]].to_numpy()[rows], rtol=1e-6)
    assert pool.y.tolist() == frame["label"].to_numpy()[rows].tolist()
    both = np.sort(np.concatenate([pool.lines.numpy(), pool.test_lines.numpy()]))
    assert both.tolist() == list(range(2, 9002))


def test_how_the_test_set_was_made(tmp_path):
    rows = [f"{row},{'Test' if k % 5 == 0 else ' train '}" for k, row in enumerate(cases())]
    table(tmp_path / "cases.csv", rows, HEADER + ",part")
    table(tmp_path / "clean.csv", [",".join(row.split(",")[1:]) for row in cases(9)], "age,dose,outcome")
    drawn = load(tmp_path, ignore=["part"])
    assert drawn.test_from == "20 % of each client's rows, drawn with split_seed 0" and drawn.own_tests
    marked = load(tmp_path, split="part", standardise=False)
    assert marked.test_from == "the rows that say test in column 'part'" and marked.own_tests
    assert marked.test_lines.tolist() == [k + 2 for k in range(0, 40, 5)] and len(marked.y) == 32
    other = load(tmp_path, test="clean.csv", ignore=["part"], standardise=False)
    assert (other.test_from, other.own_tests, len(other.y)) == ("the file clean.csv", False, 40)
    assert other.test_x[:, 0].tolist() == [k + 0.5 for k in range(9)]
    assert other.test_y.tolist() == [int(k % 3 > 0) for k in range(9)]
    south = load(tmp_path, test_clients=["south"], ignore=["part"])
    assert south.test_from == "all samples of client south, which do not train" and not south.own_tests
    assert (south.names, len(south.y), len(south.test_y)) == (("north",), 20, 20) and (south.owner == 0).all()
    assert south.test_lines.tolist() == [k + 2 for k in range(0, 40, 2)]
    federation = Natural().split(drawn, 0)
    assert federation.own_tests and federation.test_from == drawn.test_from
    assert not Iid(clients=4).split(drawn, 0).own_tests  # its clients are made here, and no one's own
    assert Iid(clients=4, test_samples=3).split(drawn, 0).test_from == f"3 drawn from {drawn.test_from}"


BAD_TESTS = {
    "unknown client": ({"test_clients": ["souht"]}, "unknown client 'souht'"),
    "everybody": ({"test_clients": ["north", "south"]}, "all clients are the test set"),
    "a word": ({"split": "outcome"}, "line 2 has 'ill' in 'outcome'"),
    "no such column": ({"split": "part"}, "no column 'part'"),
    "itself": ({"test": "cases.csv"}, "the test set is the training set"),
    "columns": ({"test": "clean.csv"}, "no column 'dose'"),
}


@pytest.mark.parametrize("case", BAD_TESTS)
def test_test_sets_that_cannot_be(tmp_path, case):
    table(tmp_path / "cases.csv", cases())
    table(tmp_path / "clean.csv", ["1,0", "2,1"], "age,outcome")
    options, said = BAD_TESTS[case]
    with pytest.raises(SpecError, match=said):
        load(tmp_path, **options)
    with pytest.raises(MissingError, match=r"nothing at nowhere\.csv"):
        load(tmp_path, test="nowhere.csv")


def test_a_split_column_needs_both_words(tmp_path):
    table(tmp_path / "cases.csv", [f"{row},train" for row in cases()], HEADER + ",part")
    with pytest.raises(SpecError, match="'part' says train everywhere"):
        load(tmp_path, split="part")


def test_numbers_to_predict(tmp_path):
    rows = [f"{'ab'[k % 2]},{k + 0.5},{k % 7},{1.5 * k - 3}" for k in range(40)]
    table(tmp_path / "cases.csv", rows)
    with pytest.raises(SpecError, match="column 'outcome': line 2 has the label -3, which is negative") as caught:
        load(tmp_path)
    assert "data.target: number and loss: squared" in caught.value.todo
    pool = load(tmp_path, target="number", standardise=False)
    assert pool.classes == 1 and pool.y.shape == (32, 1) and pool.y.dtype == torch.float32
    assert torch.allclose(pool.y[:, 0], 1.5 * (pool.x[:, 0] - 0.5) - 3)
    assert Natural().split(pool, 0).predicts_numbers and Iid(clients=2).split(pool, 0).predicts_numbers
    for partition in (Dirichlet(clients=2), Shards(clients=2), DirichletBalanced(clients=2)):
        with pytest.raises(SpecError, match="no labels to deal by"):
            partition.split(pool, 0)
    table(tmp_path / "cases.csv", [f"a,{k + 0.5},1,7.5" for k in range(10)])
    with pytest.raises(SpecError, match=r"training samples have the target 7\.5"):
        load(tmp_path, target="number")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_a_file_that_is_refused_is_closed(tmp_path):
    refused = []
    before = len(list(Path("/proc/self/fd").iterdir()))
    for rows in (["a,1,2,0", "a,x,2,1"], ["a,1,2,0", "a,1"], ["a,1,2,0", 'a,"1"1,2,1']):
        table(tmp_path / "cases.csv", rows)
        with pytest.raises(SpecError) as caught:
            load(tmp_path)
        refused.append(caught.value)  # whose traceback holds whatever was being read
    assert len(list(Path("/proc/self/fd").iterdir())) == before
