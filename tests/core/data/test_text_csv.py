"""Texts from csv files: columns, labels, archives; published vocabularies against their library; a trained one."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch

from experiments.core.data import _tokens
from experiments.core.data._tokens import read_tokens, train_tokens
from experiments.core.data.partition import Iid
from experiments.core.data.pool import make_pool
from experiments.core.data.text_csv import TextCsv
from experiments.core.errors import MissingError, SpecError

pytest.importorskip("tokenizers", reason="the extra [text] is not installed")

TRAIN = [
    (3, "Alpha", 'He said "hello"\\nthere', ""),
    (1, "Beta", "the cat sat on the mat", "and slept"),
    (1, "", "", "only the third column"),
    (2, "Gamma", "a naïve façade, 42 cats!", ""),
] * 5
TEST = [(1, "Delta", "the cat", ""), (3, "Epsilon", "hello there cat", "x")]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", "and", "sl", "##ept", ",", "!"]


def write(folder, train=TRAIN, test=TEST, classes="One\nTwo\nThree\nFour\n"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    if classes:
        (folder / "classes.txt").write_text(classes)
    return folder


def bert(folder, words=WORDS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def test_word_pieces_signs_and_padding_by_hand(tmp_path):
    write(tmp_path / "news"), bert(tmp_path / "words")
    block = TextCsv(path="news", tokenizer="words", columns=(2, 3), max_length=9)
    pool = block.load(0, tmp_path)
    cls, sep, unk = 2, 3, 1
    assert pool.x.dtype == torch.int64 and pool.x.shape == (20, 9) and pool.test_x.shape == (2, 9)
    # the cat sat on the mat and slept: cut to nine with the last sign kept
    assert pool.x[1].tolist() == [cls, 4, 5, 6, 7, 4, 8, 9, sep]
    assert pool.test_x[0].tolist() == [cls, 4, 5, sep, 0, 0, 0, 0, 0]
    assert pool.x[3].tolist() == [cls, unk, unk, unk, 12, unk, unk, 13, sep]
    assert pool.y[:4].tolist() == [2, 0, 0, 1] and pool.owner.tolist() == [-1] * 20
    assert (pool.classes, pool.name, pool.names) == (4, "news", ())
    assert block.decode(pool.x[1].tolist(), tmp_path) == "the cat sat on the mat and"
    assert block.tokens(tmp_path).size == len(WORDS)


def test_which_columns_and_where_lines_end(tmp_path):
    write(tmp_path / "news")
    whole, second = TextCsv(path="news", vocabulary=400), TextCsv(path="news", columns=(2,), vocabulary=400)
    x = {id(b): b.load(0, tmp_path).x for b in (whole, second)}
    assert whole.decode(x[id(whole)][0], tmp_path).strip() == 'alpha he said "hello" there'
    assert whole.decode(x[id(whole)][2], tmp_path).strip() == "only the third column"
    assert second.decode(x[id(second)][3], tmp_path).strip() == "a naïve façade, 42 cats!"
    assert x[id(second)][2].count_nonzero() == 1  # an empty text still has the sign that begins one


def test_a_trained_vocabulary_knows_every_byte_and_is_the_same_every_time(tmp_path):
    texts = [" ".join(str(part) for part in row[1:]) for row in TRAIN]
    tokens = train_tokens(texts, 300)
    assert tokens.size <= 300
    odd = "ünseen ✓ 漢字 zebra"
    ids = tokens.encode([odd, "the cat"], 64)
    assert ids[0, 0] == ids[1, 0] == 1 and tokens.decode(ids[0]).strip() == odd
    assert (ids[1] != 0).sum() < (ids[0] != 0).sum()
    assert (ids >= 0).all() and (ids < tokens.size).all() and set(ids[:, -1]) == {0}
    program = (
        "import sys, json; from experiments.core.data._tokens import train_tokens\n"
        "print(json.dumps(sorted(train_tokens(json.load(sys.stdin), 300).rules.get_vocab().items())))"
    )
    told = subprocess.run([sys.executable, "-c", program], input=json.dumps(texts), capture_output=True, text=True)
    assert [tuple(pair) for pair in json.loads(told.stdout)] == sorted(tokens.rules.get_vocab().items())


def test_kept_texts_alone_train_the_vocabulary(tmp_path):
    rows = [(1 + k % 2, f"word{k} zzzz{k}") for k in range(60)]
    write(tmp_path / "news", rows, [(1, "word0"), (2, "word1")], None)
    few = TextCsv(path="news", keep_train=6, keep_test=1, vocabulary=400, max_length=32)
    pool = few.load(0, tmp_path)
    assert (len(pool.y), len(pool.test_y), pool.classes) == (6, 1, 2)
    kept = {few.decode(ids, tmp_path).strip() for ids in pool.x}
    assert kept < {text for _, text in rows} and len(kept) == 6
    sizes = [TextCsv(path="news", keep_train=k, vocabulary=2000).tokens(tmp_path).size for k in (6, 60)]
    assert sizes[0] < sizes[1]
    federation = Iid(clients=3).split(pool, 0)
    assert federation.x.dtype == torch.int64 and federation.to("cpu", torch.float64).x.dtype == torch.int64


def test_an_archive_is_read_as_it_is(tmp_path):
    write(tmp_path / "plain" / "news_csv")
    with tarfile.open(tmp_path / "news_csv.tgz", "w:gz") as archive:
        archive.add(tmp_path / "plain" / "news_csv", "news_csv")
    packed = TextCsv(path="news_csv", vocabulary=400).load(0, tmp_path)
    plain = TextCsv(path="plain/news_csv", vocabulary=400).load(0, tmp_path)
    assert torch.equal(packed.x, plain.x) and packed.name == "news_csv" and packed.classes == 4
    assert not (tmp_path / "news_csv").exists()
    (tmp_path / "news_csv.tgz").write_bytes((tmp_path / "news_csv.tgz").read_bytes()[:200])
    with pytest.raises(SpecError, match="nor a valid tar archive") as caught:
        TextCsv(path="news_csv").load(0, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError, match="nor a valid tar archive") as caught:  # a file where a folder is meant
        TextCsv(path="plain/news_csv/train.csv").load(0, tmp_path)
    assert "\n" not in str(caught.value) and caught.value.where.endswith("train.csv")


WRONG = {
    "no class": ([("x", "a text")], "the row starts with 'x'"),
    "class from 0": ([(0, "a text")], "the row starts with '0'"),
    "a class alone": ([(1,)], "the row has one column"),
    "headings": ([("class", "title", "text"), (1, "a", "b")], "the row starts with 'class'"),
    "a class of seven digits": ([(3_000_000, "a", "b")], "line 1 has the label 3000000, which is not below"),
    "a class of five thousand digits": ([("9" * 5000, "a", "b")], "line 1 has the label inf, which is not below"),
    "a quote that is never closed": ([(1, "a", "b" * 200_000)], "larger than field limit"),
    "too few columns": ([(1, "a", "b"), (2, "c")], "1 text columns, not 2"),
    "nothing": ([], "no rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(tmp_path, case):
    rows, said = WRONG[case]
    write(tmp_path / "news", train=rows)
    with pytest.raises(SpecError, match=said) as caught:
        TextCsv(path="news", columns=(2,), vocabulary=400).load(0, tmp_path)
    assert "train.csv" in caught.value.where and caught.value.todo


def test_encodings(tmp_path):
    """Spreadsheets write a mark before UTF-8, and sometimes other encodings."""
    write(tmp_path / "news")
    plain = TextCsv(path="news", vocabulary=400).load(0, tmp_path)
    file = tmp_path / "news/train.csv"
    text = file.read_text("utf-8")
    file.write_text(text, "utf-8-sig")
    assert torch.equal(TextCsv(path="news", vocabulary=400).load(0, tmp_path).x, plain.x)
    for encoding in ("latin-1", "utf-16"):
        file.write_bytes(text.encode(encoding, "replace"))
        with pytest.raises(SpecError, match="not a text in UTF-8") as caught:
            TextCsv(path="news", vocabulary=400).load(0, tmp_path)
        assert caught.value.where.endswith("train.csv") and "UTF-8" in caught.value.todo


def test_what_is_not_there(tmp_path, monkeypatch):
    write(tmp_path / "news")
    with pytest.raises(MissingError, match="no data at nowhere"):
        TextCsv(path="nowhere").load(0, tmp_path)
    with pytest.raises(MissingError, match="nothing at words") as caught:
        TextCsv(path="news", tokenizer="words").load(0, tmp_path)
    assert "data.tokenizer" in caught.value.todo
    with pytest.raises(MissingError, match="no vocabulary in the folder"):
        TextCsv(path="news", tokenizer="news").load(0, tmp_path)
    (tmp_path / "news/test.csv").unlink()
    with pytest.raises(MissingError, match="cannot read the file"):
        TextCsv(path="news").load(0, tmp_path)
    monkeypatch.setattr(_tokens, "find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        TextCsv(path="news").load(0, tmp_path)
    assert caught.value.todo == "install fedlab-influence[text]" and caught.value.exit_code == 4


def test_wrong_vocabularies(tmp_path):
    with pytest.raises(SpecError, match="is not the first entry"):
        read_tokens(bert(tmp_path / "moved", ["[UNK]", *WORDS]))
    with pytest.raises(SpecError, match=r"no \[SEP\] in"):
        read_tokens(bert(tmp_path / "less", [w for w in WORDS if w != "[SEP]"]))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/vocab.json").write_text('{"a": 0')
    (tmp_path / "torn/merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(SpecError, match="not a valid vocabulary"):
        read_tokens(tmp_path / "torn")


def test_capitals_are_kept_where_the_settings_say_so(tmp_path):
    folder = bert(tmp_path / "words", [*WORDS, "Cat"])
    assert read_tokens(folder).encode(["Cat"], 3).tolist() == [[2, 5, 3]]
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert read_tokens(folder).encode(["Cat"], 3).tolist() == [[2, len(WORDS), 3]]


def test_ids_do_not_pass_through_floats():
    large = 2**24 + 1  # the first integer that float32 does not hold
    part = (np.array([[large, 0], [1, 2]]), np.array([0, 1]))
    assert make_pool("here", part, part, 2, "toy", tokens=True).x[0, 0] == large
    assert make_pool("here", part, part, 2, "toy").x.dtype == torch.float32


TEXTS = [
    "The quick brown fox's 42 jumps -- naïve façades, don't you think?",
    "Tayeb Jawad (Persian: سید طیب جواد\u200e born 1958)  is an Afghan diplomat.\tHe",
    "",
    "漢字 and emoji 😀 in a row; antidisestablishmentarianism",
    "x" * 300,
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library about itself, in its first fifth versions
@pytest.mark.parametrize("name", ["bert-base-uncased", "openai-gpt", "gpt2"])
def test_published_vocabularies_against_the_library_that_publishes_them(real_data, name):
    transformers = pytest.importorskip("transformers", reason="the extra [text] is not installed")
    kinds = {"bert-base-uncased": "BertTokenizer", "openai-gpt": "OpenAIGPTTokenizer", "gpt2": "GPT2Tokenizer"}
    folder = real_data / "tokenizers" / name
    ours = read_tokens(folder)
    theirs = getattr(transformers, kinds[name]).from_pretrained(folder, local_files_only=True)
    shift = 0 if name.startswith("bert") else 1
    assert ours.size == {"bert-base-uncased": 30522, "openai-gpt": 40478, "gpt2": 50257}[name] + shift
    for text, ids in zip(TEXTS, ours.encode(TEXTS, 24), strict=True):
        expected = [i + shift for i in theirs(text, truncation=True, max_length=24)["input_ids"]]
        assert ids.tolist() == expected + [0] * (24 - len(expected))
    assert 0 not in ours.encode(TEXTS[:1], 4)


@pytest.mark.parametrize(
    ("path", "sizes", "classes"),
    [("dbpedia_csv", (600, 100), 14), ("yahoo_answers_csv", (650, 150), 10), ("ag_news_csv", (960, 1900), 4)],
)
def test_real_texts(real_data, path, sizes, classes):
    block = TextCsv(path=path, tokenizer="tokenizers/bert-base-uncased", max_length=16)
    pool = block.load(0, real_data)
    assert torch.bincount(pool.y).tolist() == [sizes[0]] * classes == [sizes[0]] * pool.classes
    assert torch.bincount(pool.test_y).tolist() == [sizes[1]] * classes
    assert pool.x[:, 0].unique().tolist() == [101] and pool.x.min() >= 0 and pool.x.max() < 30522
