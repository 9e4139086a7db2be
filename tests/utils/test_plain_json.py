"""Strict parsing of JSON."""

from __future__ import annotations

import pytest

from dgl_mutual.utils.plain_json import read_json


def test_what_is_read() -> None:
    assert read_json(b'{"a": [1, {"b": null}], "c": {"a": 2}}') == {"a": [1, {"b": None}], "c": {"a": 2}}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]'])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the key 'a' occurs twice in one object"):
        read_json(text)
