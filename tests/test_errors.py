from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from dgl_mutual.errors import DataError, DglMutualError, StoreError, TrainingError, UsageError, listed, unknown


def test_exit_codes() -> None:
    assert UsageError.exit_code == 2
    assert {kind.exit_code for kind in (DataError, StoreError, TrainingError)} == {1}
    assert all(issubclass(kind, DglMutualError) for kind in (DataError, StoreError, TrainingError, UsageError))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Cora", "Unknown dataset 'Cora'. Did you mean 'cora'? Choose from: cora, MUTAG."),
        ("MU", "Unknown dataset 'MU'. Did you mean 'MUTAG'? Choose from: cora, MUTAG."),
        ("mutga", "Unknown dataset 'mutga'. Did you mean 'MUTAG'? Choose from: cora, MUTAG."),
        ("zzz", "Unknown dataset 'zzz'. Choose from: cora, MUTAG."),
        (7, "Unknown dataset '7' of type int. Choose from: cora, MUTAG."),
        (PurePosixPath("cora"), "Unknown dataset 'cora' of type PurePosixPath. Did you mean 'cora'? Choose from: cora, MUTAG."),
    ],
)
def test_an_unknown_name_shows_the_nearest_and_all(value: object, message: str) -> None:
    error = unknown("dataset", value, (name for name in ("cora", "MUTAG")))
    assert isinstance(error, UsageError)
    assert str(error) == message


def test_names_are_listed_as_far_as_a_message_can_show_them() -> None:
    assert listed([]) == "" and listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d"], most=2) == "a, b and 2 more"
    assert listed(["x" * 1000]) == f"{'x' * 60}..."
    assert listed([0, 1.5, None], most=2) == "0, 1.5 and 1 more"


def test_choices_are_listed_as_far_as_a_message_can_show_them() -> None:
    message = str(unknown("target", "zzz", [f"z{number}" + "z" * 1000 for number in range(2000)]))
    assert message.endswith(" and 1900 more.") and len(message) < 8000
    assert len(str(unknown("target", "long", ["long" + "z" * 10**6]))) < 500
