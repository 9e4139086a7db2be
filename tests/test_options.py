from __future__ import annotations

import pytest
from pydantic import Field, model_validator

from dgl_mutual.errors import UsageError
from dgl_mutual.options import Options, parse_options


class Inner(Options):
    width: int = Field(4, ge=1)
    """How wide."""


class Outer(Options):
    inner: Inner = Inner()
    rate: float = 0.5
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _check_order(self) -> Outer:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def test_good_values() -> None:
    assert parse_options(Outer, {"inner": {"width": 2}, "rate": 1}) == Outer(inner=Inner(width=2), rate=1.0)
    assert parse_options(Outer, {}) == Outer()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "Unknown option 'training.rat'. Did you mean 'rate'? Choose from: inner, rate, low, high."),
        ({"xyz": 1}, "Unknown option 'training.xyz'. Choose from: inner, rate, low, high."),
        ({"inner": {"widht": 1}}, "Unknown option 'training.inner.widht'. Did you mean 'width'? Choose from: width."),
        ({"inner": {"width": 0}}, "Option 'training.inner.width' = 0: Input should be greater than or equal to 1."),
    ],
)
def test_a_violation_names_key_value_and_choices(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Outer, values, "training")
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_a_violation_between_options_says_so() -> None:
    with pytest.raises(UsageError, match=r"low is above high\.$"):
        parse_options(Outer, {"low": 5, "high": 1})


def test_every_violation_has_a_line() -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Outer, {"rate": "fast", "low": 1.5, "wide": 3})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert [name for line, name in zip(lines, ("rate", "low", "wide"), strict=True) if f"'{name}'" in line] == ["rate", "low", "wide"]
    assert "'fast'" in lines[0]


def test_options_are_frozen_and_documented() -> None:
    options = Outer()
    with pytest.raises(ValueError, match="frozen"):
        options.rate = 1.0  # type: ignore[misc]  # what is shown to fail
    assert Inner.model_fields["width"].description == "How wide."
