from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_serializer, model_validator

from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.experiments.configuration.given import plain_values
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import Options, fault_of_options, parse_options, unserializable_key


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


class Node(Options):
    kids: list[Node] = []  # noqa: RUF012  # pydantic copies it
    named: bool = False


class Tree(Options):
    root: Node = Node()


def test_groups_of_options_may_hold_their_own_kind() -> None:
    assert fault_of_options(SimpleNamespace(Options=Tree), Options, "Options") is None
    assert parse_options(Tree, {"root": {"kids": [{}]}}) == Tree(root=Node(kids=[Node()]))
    with pytest.raises(UsageError, match=r"Unknown option 'named'. Did you mean 'root\.named'"):
        parse_options(Tree, {"named": True})


class Stopped(Options):
    """Ctrl-C arrives while it is written."""

    width: int = 4

    @field_serializer("width")
    def _write(self, width: int) -> int:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "write",
    [
        lambda options: options.model_dump(mode="json"),
        Options.model_dump_json,
        lambda options: plain_values(options, exclude=set()),
    ],
)
def test_an_interrupt_while_options_are_written_stays_one(write: Callable[[Options], object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(Stopped())


def test_good_values() -> None:
    assert parse_options(Outer, {"inner": {"width": 2}, "rate": 1}) == Outer(inner=Inner(width=2), rate=1.0)
    assert parse_options(Outer, {}) == Outer()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "Unknown option 'training.rat'. Did you mean 'rate'? Choose from: inner, rate, low, high."),
        (
            {"sage": None},
            "Unknown option 'training.sage'. Choose from: inner, rate, low, high. It has no value here: if it belongs to a list, write "
            "that in brackets, for example [gcn, sage].",
        ),
        ({"xyz": 1}, "Unknown option 'training.xyz'. Choose from: inner, rate, low, high."),
        ({"inner": {"widht": 1}}, "Unknown option 'training.inner.widht'. Did you mean 'width'? Choose from: width."),
        ({"inner.width": 1}, "Unknown option 'training.inner.width'. Here options are nested: write inner: {width: ...}."),
        ({"inner": {"width": 0}}, "Option 'training.inner.width' = 0: at least 1 is needed."),
    ],
)
def test_a_violation_names_key_value_and_choices(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Outer, values, "training")
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


class Alternatives(Options):
    one: int | str = 1
    several: list[int | Annotated[list[int], Field(max_length=2)]] = Field(default_factory=list)
    by_name: dict[str, Literal["auto"] | float] = Field(default_factory=dict)
    group: Inner | None = None
    group_or_text: Inner | Literal["none"] = "none"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"one": []}, "Option 'x.one' = []: an integer is needed, or a string is needed."),
        ({"several": [1, "a"]}, "Option 'x.several.1' = 'a': an integer is needed, or a list is needed, for example [a]."),
        ({"by_name": {"k": "never"}}, "Option 'x.by_name.k' = 'never': there is no such value. Choose from: auto, or a number is needed."),
        ({"group": {"widht": 1}}, "Unknown option 'x.group.widht'. Did you mean 'width'? Choose from: width."),
        (
            {"group_or_text": {"width": 0}},
            "Option 'x.group_or_text.width' = 0: at least 1 is needed.\n"
            "Option 'x.group_or_text' = {'width': 0}: there is no such value. Choose from: none.",
        ),
    ],
)
def test_where_several_kinds_are_allowed_keys_are_those_of_the_user(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Alternatives, values, "x")
    assert str(caught.value) == message


class Kinds(Options):
    names: tuple[str, ...] = Field(("a",), min_length=1)
    pair: tuple[int, int] | None = None
    whole: int = 1
    rate: float = 1.0
    on: bool = False
    text: str = ""
    inner: Inner = Inner()
    any: dict[str, int] = Field(default_factory=dict)
    form: Literal["none", "batch", "layer"] | None = None
    one_form: Literal["neighbor"] | None = None
    label: str = Field("a", min_length=1, max_length=3)
    open_range: float = Field(0.5, gt=0, lt=1)
    range: float = Field(1e3, ge=1e-3, le=1e6)
    needed: str = Field(examples=["[x, y]"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"names": 1}, "Option 'names' = 1: a list is needed, for example [1]."),
        ({"names": ()}, "Option 'names' = []: a list of at least 1 value is needed."),
        ({"pair": []}, "Option 'pair' = []: more values are needed, in a list."),
        ({"pair": [1, 2, 3]}, "Option 'pair' = [1, 2, 3]: a list of at most 2 values is needed."),
        *(({"whole": value}, f"Option 'whole' = {value!r}: an integer is needed.") for value in (None, "x", 0.5, [])),
        *(({"rate": value}, f"Option 'rate' = {value!r}: a number is needed.") for value in (None, "x", {})),
        ({"rate": float("inf")}, "Option 'rate' = inf: a finite number is needed."),
        *(({"on": value}, f"Option 'on' = {value!r}: true or false is needed.") for value in (None, 3)),
        *(({"text": value}, f"Option 'text' = {value!r}: a string is needed.") for value in (None, 3)),
        *(({"inner": value}, f"Option 'inner' = {value!r}: a mapping from names to values is needed.") for value in (None, 3)),
        ({"any": 3}, "Option 'any' = 3: a mapping from names to values is needed."),
        ({"any": {1: 2}}, "Option 'any.1' = 1: a string is needed."),
        ({"form": "layr"}, "Option 'form' = 'layr': there is no such value. Did you mean 'layer'? Choose from: none, batch, layer."),
        *(({"form": value}, f"Option 'form' = {value!r}: there is no such value. Choose from: none, batch, layer.") for value in (3, [])),
        (
            {"one_form": "neighbour"},
            "Option 'one_form' = 'neighbour': there is no such value. Did you mean 'neighbor'? Choose from: neighbor.",
        ),
        ({"label": ""}, "Option 'label' = '': a string of at least 1 character is needed."),
        ({"label": "abcd"}, "Option 'label' = 'abcd': a string of at most 3 characters is needed."),
        ({"open_range": 0}, "Option 'open_range' = 0: more than 0 is needed."),
        ({"open_range": 1.5}, "Option 'open_range' = 1.5: less than 1 is needed."),
        ({"range": -1}, "Option 'range' = -1: at least 0.001 is needed."),
        ({"range": 1e7}, "Option 'range' = 10000000.0: at most 1000000 is needed."),
    ],
)
def test_a_value_of_another_kind_is_told_in_plain_words(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Kinds, {"needed": "x", **values})
    assert str(caught.value) == message


def test_an_option_that_is_missing_has_an_example() -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Kinds, {"whole": 3}, "group")
    assert str(caught.value) == "The option 'group.needed' is missing. Give it, for example needed: [x, y]."


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


def test_the_first_value_that_a_file_cannot_hold_is_found() -> None:
    good = {"a": 1, "b": [1, {"c": "text"}]}
    assert unserializable_key(StudentOptions(architecture="gcn", options=good), "students.0") == "students.0"
    bad = {**good, "b": [1, {"c": "text", "d": object()}]}
    assert unserializable_key(StudentOptions(architecture="gcn", options=bad), "students.0") == "students.0.options.b.1.d"


def test_a_message_has_a_bound_whatever_the_values() -> None:
    for values in ({f"k{number}": 0 for number in range(5000)}, {"x" * 100_000: 0}, {"rate": "x" * 100_000}):
        with pytest.raises(UsageError) as caught:
            parse_options(Outer, values)
        assert len(str(caught.value)) < 10_000
    with pytest.raises(UsageError, match=r"\nAnd 4950 more\.$"):
        parse_options(Outer, {f"k{number}": 0 for number in range(5000)})


def test_an_unknown_name_is_shown_in_part() -> None:
    assert str(unknown("strategy", "x" * 100_000, ["gml"])) == f"Unknown strategy '{'x' * 300}...'. Choose from: gml."


WORDS = {"beta", "alpha", "zeta", "eta", "iota", "theta", "kappa", "mu"}


class Within(BaseModel):
    words: set[str]


@dataclass
class Data:
    words: frozenset[str] = frozenset(WORDS)


class Sets(Options):
    plain: set[str] = WORDS
    below: dict[str, tuple[Any, ...]] = Field({"a": (1, frozenset(WORDS))})
    within: Within = Within(words=WORDS)
    data: Data = Data()
    several: frozenset[frozenset[str]] = frozenset({frozenset(WORDS), frozenset("b")})
    line: deque[frozenset[str]] = Field(deque([frozenset(WORDS)]))
    shown: frozenset[str] = frozenset({"last", "first"})

    @field_serializer("shown")
    def _as_text(self, words: frozenset[str]) -> str:
        return ",".join(sorted(words))


def test_sets_are_sorted_lists_in_json() -> None:
    """Texts in a set have another order in each process."""
    options = Sets()
    assert options.plain == WORDS and options.model_dump()["plain"] == WORDS
    expected = sorted(WORDS)
    assert options.model_dump(mode="json") == {
        "plain": expected,
        "below": {"a": [1, expected]},
        "within": {"words": expected},
        "data": {"words": expected},
        "several": [expected, ["b"]],
        "line": [expected],
        "shown": "first,last",
    }
    assert Sets(plain=options.model_dump(mode="json")["plain"]).plain == WORDS


class Ordered(Options):
    neither: set[int] | tuple[int, ...] = ()
    frozen: tuple[int, ...] | frozenset[int] | None = None
    ordered: tuple[int, ...] = ()


def test_a_set_is_refused_where_a_list_alone_is_meant() -> None:
    options = Ordered(neither={1}, frozen=frozenset({2}))
    assert (options.neither, options.frozen) == ({1}, {2})
    with pytest.raises(UsageError, match=r"'ordered' = \{3\}: a set has no order: give a list"):
        parse_options(Ordered, {"ordered": {3}})
