"""Rows of a scope against numbers worked out by hand."""

import math

import torch

from experiments.core.study.rows import Rows
from experiments.trace.rows import Scope, of_chance, of_scores, of_truth

RIGHT = torch.tensor([[True, False, True, False], [False, True, False, False]])
SCORES = torch.tensor([[0.1, 0.2, 0.9, 0.3], [0.5, 0.1, 0.4, 0.2]])
FALL = torch.tensor([[1.0, 2.0, 9.0, 3.0], [-5.0, -1.0, -4.0, -2.0]])


def numbers(rows):
    return {row["metric"]: (row["value"], row["n"]) for row in rows.rows}


def test_scores_of_a_scope():
    rows = Rows("alpha=0.3", finite=True)
    scope = Scope("correct", 7, RIGHT, torch.tensor([2, 2]), FALL)
    of_scores(rows, "tracefl", SCORES, scope)
    found = numbers(rows)
    assert found["localization"] == (50.0, 2)  # the second names participant 0, who is not right
    assert found["rank_most"] == (1.5, 2) and found["hit_most"] == (50.0, 2)
    assert found["hit_truth"] == (50.0, 2)
    assert math.isclose(found["spearman_truth"][0], 0.0, abs_tol=1e-12)  # +1 of the first, -1 of the second
    assert {row["subject"] for row in rows.rows} == {"alpha=0.3 scope=correct"}
    assert {row["round"] for row in rows.rows} == {7}


def test_the_truth_names_clients_too():
    rows = Rows("", finite=True)
    of_truth(rows, Scope("correct", 1, RIGHT, torch.tensor([1, 1]), FALL))
    assert numbers(rows) == {"localization": (100.0, 2), "rank_most": (2.0, 2), "hit_most": (50.0, 2)}
    assert {row["method"] for row in rows.rows} == {"leave_one_out"}
    of_truth(rows, Scope("correct", 1, RIGHT, None, None))
    assert len(rows.rows) == 3


def test_chance_is_the_share_of_right_participants():
    rows = Rows("", finite=True)
    of_chance(rows, Scope("wrong", 1, RIGHT, None, None))
    assert numbers(rows) == {"chance": (37.5, 2)}


def test_no_rank_and_no_truth_where_there_is_none():
    rows = Rows("", finite=True)
    of_scores(rows, "norm", SCORES, Scope("wrong", 1, RIGHT, None, None))
    assert set(numbers(rows)) == {"localization"}


def test_equal_scores_have_no_correlation():
    rows = Rows("", finite=True)
    of_scores(rows, "norm", torch.ones(2, 4), Scope("correct", 1, RIGHT, torch.tensor([0, 1]), FALL))
    assert not {"pearson_truth", "spearman_truth"} & set(numbers(rows))
    assert numbers(rows)["rank_most"] == (2.5, 2)
