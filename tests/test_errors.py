from __future__ import annotations

import pytest

from dgl_mutual.errors import DataError, DglMutualError, StoreError, TrainingError, UsageError, unknown


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
        (7, "Unknown dataset '7'. Choose from: cora, MUTAG."),
    ],
)
def test_an_unknown_name_shows_the_nearest_and_all(value: object, message: str) -> None:
    error = unknown("dataset", value, (name for name in ("cora", "MUTAG")))
    assert isinstance(error, UsageError)
    assert str(error) == message
