from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.multiclass import type_of_target

from dgl_mutual.data.labels import MISSING, Encoding, encode_cells, encode_labels
from dgl_mutual.errors import DataError


def encoded(*cells: str) -> Encoding:
    return encode_cells(pd.Series(list(cells), dtype=str))


def test_what_pandas_reads_as_missing_is_unknown() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert {text.casefold() for text in STR_NA_VALUES} <= MISSING


@pytest.mark.parametrize("text", ["", "nan", "NaN", "NA", "None", "NULL", "null", "N/A", "n/a", "?", "<NA>", "#N/A", "\\N", "none", " NA "])
def test_a_missing_label_is_no_class(text: str) -> None:
    for others in (("1", "0", "1"), ("yes", "no", "yes")):
        found = encoded(text, *others)
        assert found.names == tuple(sorted(set(others))) and found.labels.tolist() == [-1, 1, 0, 1]
        assert len(found.notes) == bool(text.strip())  # an empty cell says so itself


def test_names_that_look_like_missing_values() -> None:
    assert encoded("Na", "K").names == ("K", "Na")
    assert encoded("-", "+").names == ("+", "-")
    assert encoded("-", "1", "0").labels.tolist() == [-1, 1, 0]
    assert encoded("missing", "present").names == ("missing", "present")
    assert encoded("unknown", "2").labels.tolist() == [-1, 0]
    assert encoded("unknown", "known").labels.tolist() == [1, 0]


@pytest.mark.parametrize("spelling", ["2", "2.0", "2.", "+2", "02", "2e0", "20E-1", "0.2e1"])
def test_one_number_is_one_class_however_it_is_written(spelling: str) -> None:
    found = encoded("2", "10", spelling, "10.0", "-0", "0")
    assert found.names == ("0", "2", "10") and found.labels.tolist() == [1, 2, 1, 2, 0, 0]


def test_whole_numbers_differ_in_their_last_digit() -> None:
    large = [str(2**53 + offset) for offset in (1, 0)] + [str(10**30 + offset) for offset in (1, 0)]
    assert encoded(*large, "-3").labels.tolist() == [2, 1, 4, 3, 0]
    assert encoded(*large, "-3").names == ("-3", *sorted(large, key=int))
    assert encoded("9" * 5000, "1").labels.tolist() == [1, 0]


def test_booleans_of_pandas_and_of_spreadsheets_are_the_same() -> None:
    assert encoded("True", "FALSE", "true").labels.tolist() == [1, 0, 1]
    assert encoded("True", "FALSE", "true").names == ("False", "True")


def test_words_keep_their_spelling() -> None:
    assert encoded("b", "a", "007", "7", "7.0").names == ("007", "7", "a", "b")
    assert encoded("Yes", "yes").notes == ("'Yes' and 'yes' are read as two classes, though they differ in their spelling alone",)


@pytest.mark.parametrize("values", [np.linspace(0, 1, 40), np.arange(40) * 3, np.array([0.5, 1.0, 1.5])], ids=["fractions", "whole", "few"])
def test_a_continuous_target_is_called_that(values: np.ndarray) -> None:
    (refusal,) = encode_cells(pd.Series(values).astype(str)).refusals
    assert "continuous target (regression)" in refusal.rule
    with pytest.raises(DataError, match=r"^labels.*continuous target \(regression\)"):
        encode_labels(values, "labels")


def test_infinity_and_spreadsheet_errors_are_no_classes() -> None:
    assert "regression" in encoded("inf", "1", "2").refusals[0].rule
    assert "a spreadsheet's error '#REF!'" in encoded("a", "#REF!").refusals[0].rule
    assert encoded("a", "#REF!").refusals[0].rows is not None
    assert not encoded("inf", "sup").refusals


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize("values", [np.tile([0.0, 1.0, 2.0], 10), np.array([0.5, 1.0]), np.arange(20.0), np.repeat(np.arange(15.0), 2)])
def test_as_scikit_learn_judges(values: np.ndarray) -> None:
    refused = bool(encode_cells(pd.Series(values).astype(str)).refusals)
    assert refused == (type_of_target(values) == "continuous")


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=20))
def test_arrays_and_text_are_read_by_the_same_rules(values: list[int | None]) -> None:
    text = encode_cells(pd.Series(["" if value is None else str(value) for value in values], dtype=str))
    as_floats = pd.Series(["" if value is None else str(float(value)) for value in values], dtype=str)
    for other in (
        encode_cells(as_floats),
        encode_labels(values, "labels"),
        encode_labels(np.array(values, dtype=np.float64), "labels"),
        encode_labels(pd.Series(values, dtype="Int64"), "labels"),
        encode_labels(np.array([9 if value is None else value for value in values]), "labels", unknown=9),
    ):
        np.testing.assert_array_equal(other.labels, text.labels)
        assert other.names == text.names


def test_rows_of_labels() -> None:
    found = encode_labels(np.array([[1, 0], [np.nan, 1]]), "labels")
    assert found.kind == "multi-label" and found.names == ("label 0", "label 1")
    np.testing.assert_array_equal(found.labels, np.array([[1, 0], [np.nan, 1]], dtype=np.float32))
    for wrong, message in ((2, "found 2"), (0.5, r"found 0\.5 .*regression"), (np.inf, "found inf")):
        with pytest.raises(DataError, match=f"labels, sample 1: expected 0 or 1 for each label.*{message}"):
            encode_labels(np.array([[1, 0], [0, wrong]]), "labels")
    with pytest.raises(DataError, match="found values of type <U1"):
        encode_labels(np.array([["a", "b"]]), "labels")
    with pytest.raises(DataError, match=r"expected shape .*found \(1, 1, 1\)"):
        encode_labels(np.ones((1, 1, 1)), "labels")
