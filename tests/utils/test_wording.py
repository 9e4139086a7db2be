"""Formatting of counts and values in messages."""

from __future__ import annotations

import numpy as np

from dgl_mutual.utils.wording import assignments, counted, kind_of, value_and_kind


def test_numbers_agree_with_what_they_count() -> None:
    assert [counted(number, "class", "classes") for number in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
    assert [counted(number, "graph") for number in (1, 1000)] == ["1 graph", "1000 graphs"]
    assert counted(1000, "graph", form=",") == "1,000 graphs"


def test_values_have_the_article_of_their_kind() -> None:
    assert [kind_of(value) for value in (1, "a", [], np.zeros(1), None, len, test_values_have_the_article_of_their_kind)] == [
        *("an int", "a str", "a list", "an ndarray", "None", "a function", "a function")
    ]


def test_values_are_shown_with_their_kind() -> None:
    assert [value_and_kind(value) for value in ("all", {1}, None)] == ["'all' (a str)", "{1} (a set)", "None"]
    assert value_and_kind("x" * 100) == f"'{'x' * 59} (a str)"


def test_assignments_are_names_and_values() -> None:
    assert assignments({"hidden": 8, "norm": "layer"}) == "hidden=8, norm=layer"
    assert assignments({}) == ""
