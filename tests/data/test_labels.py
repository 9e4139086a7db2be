from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.multiclass import type_of_target

from dgl_mutual.data.values.label_words import MISSING
from dgl_mutual.data.values.labels import Encoding, encode_cells, encode_labels
from dgl_mutual.errors import DataError


def encoded(*cells: str) -> Encoding:
    return encode_cells(pd.Series(list(cells), dtype=str))


def test_labels_that_pandas_reads_as_missing_are_unknown() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert {text.casefold() for text in STR_NA_VALUES} <= MISSING


@pytest.mark.parametrize("text", ["", "nan", "NaN", "NA", "None", "NULL", "null", "N/A", "n/a", "?", "<NA>", "#N/A", "\\N", "none", " NA "])
def test_a_missing_label_is_not_a_class(text: str) -> None:
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


def test_integers_differ_in_their_last_digit() -> None:
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


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, 40), np.arange(40) * 3, np.array([0.5, 1.0, 1.5])], ids=["fractions", "integers", "few"]
)
def test_a_continuous_target_is_called_that(values: np.ndarray) -> None:
    refusal = encode_cells(pd.Series(values).astype(str)).refusal
    assert "continuous target (regression)" in refusal.rule
    with pytest.raises(DataError, match=r"^labels.*continuous target \(regression\)"):
        encode_labels(values, "labels")


@pytest.mark.parametrize(("classes", "each", "told"), [(1001, 9, True), (1000, 3, False), (1001, 10, False)])
def test_very_many_small_classes_look_like_identifiers(classes: int, each: int, told: bool) -> None:
    cells = pd.Series(np.repeat(np.arange(classes), each)).astype(str)
    note = "1001 classes among 9009 labelled samples, 9.0 per class on average, look like identifiers. They are read as classes"
    assert [text.startswith(note) for text in encode_cells(cells).notes] == [True] * told
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encode_labels(cells.to_numpy(), "labels")
    assert [str(warning.message).startswith(f"labels: {note}") for warning in caught] == [True] * told


@pytest.mark.parametrize(("kind", "classes", "told"), [("f8", 21, True), ("f4", 30, True), ("f8", 20, False), ("i8", 30, False)])
def test_many_classes_of_floating_point_numbers_cause_a_warning(kind: str, classes: int, told: bool) -> None:
    years = (1990 + np.arange(5 * classes) % classes).astype(kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for values in (years, years.tolist(), pd.Series(years)):
            encode_labels(values, "labels")
    message = f"labels: floating-point numbers without fractions are read as {classes} classes"
    assert len(caught) == 3 * told and all(str(one.message).startswith(message) for one in caught)


def test_integers_that_are_floats_beside_unknown_labels_are_no_amounts() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encode_labels([*map(float, 2 * [*range(30)]), math.nan], "labels")
    assert not any("regression" in str(one.message) for one in caught)


def test_infinity_and_spreadsheet_errors_are_not_classes() -> None:
    assert encoded("inf", "1", "2").refusal.rule == "expected classes as integers or strings, found 'inf'"
    assert "regression" in encoded("inf", "1", "2.5").refusal.rule
    assert "a spreadsheet's error '#REF!'" in encoded("a", "#REF!").refusal.rule
    assert encoded("a", "#REF!").refusal.rows is not None
    assert not encoded("inf", "sup").refusal


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize("values", [np.tile([0.0, 1.0, 2.0], 10), np.array([0.5, 1.0]), np.arange(20.0), np.repeat(np.arange(15.0), 2)])
def test_as_scikit_learn_judges(values: np.ndarray) -> None:
    refused = bool(encode_cells(pd.Series(values).astype(str)).refusal)
    assert refused == (type_of_target(values) == "continuous")


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=20))
@pytest.mark.filterwarnings("ignore:labels. -. is read as a class beside classes")
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


def test_one_hot_classes_are_read_as_labels_with_a_warning() -> None:
    one_hot = np.eye(3)[[0, 2, 1, 1]]
    with pytest.warns(UserWarning, match=r"labels: each sample has exactly one of the 3 labels.*labels\.argmax\(axis=1\)"):
        assert encode_labels(one_hot, "labels").kind == "multi-label"
    with pytest.warns(UserWarning, match="exactly one of the 3 labels"):
        encode_labels(np.vstack([one_hot, np.full((1, 3), np.nan)]), "labels")
    one_hot[0, 1] = 1
    partly_known = np.where([[True] * 3, [False] * 3], [1.0, 0.0, 0.0], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (one_hot, partly_known, np.ones((4, 1)), np.zeros((4, 2))):
            encode_labels(labels, "labels")


def test_rows_of_labels() -> None:
    found = encode_labels(np.array([[1, 0], [np.nan, 1]]), "labels")
    assert found.kind == "multi-label" and found.names == ("label 0", "label 1")
    np.testing.assert_array_equal(found.labels, np.array([[1, 0], [np.nan, 1]], dtype=np.float32))
    for wrong, message in (
        (2, "found 2"),
        (-1, "or NaN where it is unknown, found -1"),
        (0.5, r"found 0\.5 .*regression"),
        (np.inf, "found inf"),
    ):
        with pytest.raises(DataError, match=f"labels, sample 1: expected 0 or 1 for each label.*{message}"):
            encode_labels(np.array([[1, 0], [0, wrong]]), "labels")
    with pytest.raises(DataError, match="found values of type <U1"):
        encode_labels(np.array([["a", "b"]]), "labels")
    with pytest.raises(DataError, match=r"expected shape .*found \(1, 1, 1\)"):
        encode_labels(np.ones((1, 1, 1)), "labels")


BIG = 2**53


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        ([BIG, BIG + 1, float("nan"), None], (str(BIG), str(BIG + 1)), [0, 1, -1, -1]),
        ([2**63, 2**63 + 1, -5], ("-5", str(2**63), str(2**63 + 1)), [1, 2, 0]),
        (pd.array([BIG, BIG + 1, None], dtype="Int64"), (str(BIG), str(BIG + 1)), [0, 1, -1]),
        (pd.Categorical(["b", "a", None]), ("a", "b"), [1, 0, -1]),
        (np.array([b"2", b"2.0", b"nan", b"3"]), ("2", "3"), [0, 0, -1, 1]),
        (np.array(["2020-01-01", "NaT", "2021-01-01"], dtype="datetime64[D]"), ("2020-01-01 00:00:00", "2021-01-01 00:00:00"), [0, -1, 1]),
        (np.array([2, 0, 7], dtype=">i4"), ("0", "2", "7"), [1, 0, 2]),
        (pd.Series(np.array([2, np.nan, 7], dtype=">f8")), ("2", "7"), [0, -1, 1]),
        (np.array([5, "NaT", 0], dtype="timedelta64[s]"), ("0 days 00:00:00", "0 days 00:00:05"), [1, -1, 0]),
        (torch.quantize_per_tensor(torch.tensor([2.0, 0, 7]), 1.0, 0, torch.qint8), ("0", "2", "7"), [1, 0, 2]),
    ],
    ids=["NaN", "beyond int64", "nullable", "categories", "bytes", "dates", "big-endian", "big-endian series", "times", "quantized"],
)
@pytest.mark.filterwarnings("ignore:labels. 'nan' in 1 cell is read as unknown")
@pytest.mark.filterwarnings("ignore:labels. -5 is read as a class beside classes")
def test_lists_and_arrays_keep_every_class(values: Any, names: tuple[str, ...], codes: list[int]) -> None:
    found = encode_labels(values, "labels")
    assert found.names == names and found.labels.tolist() == codes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([2.0**53, 1.0]),
            r"sample 0: expected classes as integers or strings, found 9007199254740992: from 9007199254740992 on",
        ),
        (np.array([1.0, 2.0**24], dtype=np.float32), r"sample 1: .* found 16777216: from 16777216 on, float32 cannot represent every"),
        (np.array([(1, 2)], dtype="i4,i4"), r"expected numbers, strings or booleans, found values of type \[\('f0'"),
        (np.array([1 + 2j]), "found values of type complex128"),
        (np.array([0, 1], dtype="timedelta64"), r"found values that cannot be compared \(timedelta64 values must have a unit"),
        (np.array([[0], {1}, "a"], dtype=object), r"found values that cannot be compared \(unhashable type: 'list'\)"),
        (torch.ones(3, device="meta"), r"The labels are a tensor \(torch.float32, torch.strided, on meta\) without values"),
        ({"a": 1}, r"expected shape \(samples,\) or \(samples, labels\), found a dict"),
        (np.array([[0], [1], [2]]), r"sample 2: expected 0 or 1 .* found 2; give a single column of classes as shape \(samples,\)"),
        (np.zeros((3, 0)), r"expected a column for each label, found shape \(3, 0\); give a class for each sample, or no"),
        (pd.DataFrame(index=range(3)), "expected a column for each label, found shape"),
        (np.array([[0.0], [1.5]]), r"sample 1: .*continuous target \(regression\).*found 1\.5"),
        (pd.DataFrame({"label": ["a", "b"]}), r"a single column of classes as shape \(samples,\), for example labels\[:, 0\]"),
    ],
)
def test_other_values_than_classes_are_refused_with_a_mend(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode_labels(values, "labels")


@pytest.mark.filterwarnings("ignore:labels. each sample has exactly one of the 2 labels")
def test_rows_of_labels_may_lack_some_and_have_names() -> None:
    frame = pd.DataFrame({"toxic": pd.array([0, 1, None], dtype="Int64"), "soluble": pd.array([True, False, None], dtype="boolean")})
    found = encode_labels(frame, "labels")
    assert found.names == ("toxic", "soluble")
    np.testing.assert_array_equal(found.labels, [[0, 1], [1, 0], [np.nan, np.nan]])
    assert encode_labels([[0, None], [1, 0]], "labels").names == ("label 0", "label 1")
    with pytest.raises(DataError, match="found values of type object"):
        encode_labels([["0", None], ["1", "0"]], "labels")


@pytest.mark.parametrize("values", [[-1, 1, 1], [-1.0, 1.0, 1.0], [-2, -1, 0, 1], [-1, 0, 1], [1.0, 0.0, -1.0, 1.0]])
@pytest.mark.filterwarnings("ignore:labels. -2 is read as a class beside classes")
def test_minus_one_that_looks_like_a_class_is_a_warning(values: list[float]) -> None:
    with pytest.warns(UserWarning, match="-1 in 1 sample is read as unknown, not as a class. If it is a class, give classes from 0 on"):
        encode_labels(values, "labels", unknown=-1)


def test_words_read_as_unknown_cause_a_warning_for_arrays_too() -> None:
    encode_labels([-1, 0, 1, 2], "labels", unknown=-1)
    with pytest.warns(UserWarning, match="labels: 'NA' in 2 cells is read as unknown, not as a class"):
        encode_labels(["NA", "a", "b", "NA"], "labels")


def test_a_single_negative_class_beside_others_causes_a_warning() -> None:
    for unknown in ("-100", "-1"):
        assert any(f"{unknown} is read as a class beside classes from 0 on" in note for note in encoded("0", "1", unknown, "2").notes)
    for texts in (("-1", "1"), ("-2", "-1", "0"), ("-100", "a", "b"), ("-100", "1")):
        assert encoded(*texts).notes == ()
