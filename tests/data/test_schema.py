"""New data in the columns of a trained student: what is missing, and what means something else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.schema import align_to

PEOPLE = pd.DataFrame(
    {"age": [20.0, 31.5, 40, 70], "smoker": [True, False, True, False], "old": [False, False, False, True], "size": [1.5, 1.6, 1.7, 1.8]}
)


def of_nodes(columns: Any, **given: Any) -> Dataset:
    return Dataset.from_arrays([[0, 1, 2, 3], [1, 2, 3, 0]], columns, [0, 1, 0, 1], **given)


def of_edges(columns: Any, **given: Any) -> Dataset:
    of = {f"edge_{name}": value for name, value in given.items()}
    return Dataset.from_arrays([[0, 1, 2, 3], [1, 2, 3, 0]], np.eye(4), [0, 1, 0, 1], edge_features=columns, **of)


MADE = pytest.mark.parametrize("made", [of_nodes, of_edges])


def told(new: Dataset, known: Dataset) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        align_to(new, known)
    return [str(one.message) for one in caught]


@MADE
def test_a_column_of_booleans_that_is_missing_is_named(made: Any) -> None:
    known = made(PEOPLE)
    (message,) = told(made(PEOPLE.drop(columns=["old", "smoker"])), known)
    assert "columns are missing in" in message and "count as 0 everywhere: smoker, old." in message
    assert told(made(PEOPLE[["size", "old", "smoker", "age"]]), known) == []


@MADE
def test_a_value_of_a_one_hot_encoding_may_be_missing_without_a_warning(made: Any) -> None:
    colours = pd.get_dummies(pd.DataFrame({"colour": ["red", "blue", "red", "green"]}), prefix_sep="=")
    assert told(made(colours.drop(columns="colour=green")), made(colours)) == []


@MADE
def test_a_value_may_be_missing_without_a_warning_if_each_row_has_another(made: Any) -> None:
    known = made(pd.get_dummies(pd.DataFrame({"eye_colour": ["dark_red", "blue", "red", "green"]})).assign(size=PEOPLE["size"]))
    new = pd.get_dummies(pd.DataFrame({"eye_colour": ["blue", "blue", "red", "dark_red"]})).assign(size=PEOPLE["size"])
    assert told(made(new), known) == []
    (message,) = told(made(new.drop(columns="eye_colour_red")), known)
    assert "count as 0 everywhere: eye_colour_green, eye_colour_red." in message


@MADE
def test_values_that_an_indicator_never_had_are_named(made: Any) -> None:
    known = made(PEOPLE)
    for columns in (list(PEOPLE), list(PEOPLE)[::-1]):
        (message,) = told(made(PEOPLE.assign(smoker=[50.0, -50, 0, 1])[columns]), known)
        assert "hold other values than 0 and 1" in message and ": smoker." in message
        assert told(made(PEOPLE.astype(float)[columns]), known) == []
    counts = made(PEOPLE.assign(smoker=[2, 0, 1, 0]), feature_kinds=["number", "count", "number", "number"])
    assert ": smoker." in "".join(told(counts, known))
    wide = PEOPLE.assign(**{f"unused {n}": False for n in range(40)})
    assert ": old." in "".join(told(made(wide.assign(old=[0, 0, 0.5, 0])), made(wide))), "of a sparse matrix, too"


def test_explicit_zeros_are_not_other_values() -> None:
    stored = sparse.csr_matrix(np.eye(4, 40, dtype=np.float32))
    stored.data[0] = 0
    known = of_nodes(np.eye(4, 40, dtype=np.bool_))
    assert told(known.replaced(features=stored, feature_kinds=("number",) * 40), known) == []


@MADE
def test_booleans_in_a_column_without_a_name_are_named(made: Any) -> None:
    (message,) = told(made(PEOPLE.to_numpy() > [40, 0, 0, 2]), made(PEOPLE.to_numpy()))
    assert "are True or False" in message and "feature 0, " in message


@MADE
def test_a_column_of_0_and_1_may_be_given_as_booleans(made: Any) -> None:
    known = made(PEOPLE.assign(smoker=[1, 0, 1, 0]))
    assert told(made(PEOPLE), known) == []
    assert told(made(PEOPLE[["size", "old", "smoker", "age"]]), known) == []


@MADE
def test_columns_without_names_that_changed_places_are_named(made: Any) -> None:
    rows = [[True, 1.5], [False, 2.5], [True, 0.5], [False, 3.5]]
    messages = told(made([row[::-1] for row in rows]), made(rows))
    assert ["hold other values than 0 and 1" in messages[0], "are True or False" in messages[1]] == [True, True]
    assert told(made(rows), made(rows)) == []


@MADE
def test_codes_of_another_tu_dataset_are_named_where_columns_share_them(made: Any) -> None:
    named = made(pd.DataFrame({"weight": [0.5, 1, 2, 3], "label=0": [True, False, True, False]}))
    if made is of_edges:
        named = named.replaced(edge_feature_names=("weight", "edge label=0"))
    known, other = named.replaced(codes_of="MUTAG"), named.replaced(codes_of="PTC_MR")
    (message,) = told(other, known)
    assert "label=0) as PTC_MR numbers them, but the model has them as MUTAG numbers them." in message
    assert "name its files MUTAG_A.txt and so on" in message
    assert told(other.replaced(codes_of="MUTAG"), known) == [], "the fix of the message"
    assert told(named, known) == told(other, named) == [], "of data from elsewhere nothing is known"
    without = made(pd.DataFrame({"weight": [0.5, 1, 2, 3]}))
    assert told(without.replaced(codes_of="PTC_MR"), without.replaced(codes_of="MUTAG")) == []
