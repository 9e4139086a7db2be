from __future__ import annotations

import pytest

from dgl_mutual.utils.python_compat import is_class


@pytest.mark.parametrize(
    ("value", "expected"), [(int, True), (Exception, True), (list[int], False), (tuple[int, ...], False), (int | None, False), (3, False)]
)
def test_generic_types_are_not_classes(value: object, expected: bool) -> None:
    assert is_class(value) == expected
