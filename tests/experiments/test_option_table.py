from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.option_table import as_markdown, as_text, describe
from dgl_mutual.experiments.strategy_table import options_of
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import Options
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from dgl_mutual.weightings import WEIGHTINGS

KINDS: list[type[Options]] = [
    *(RunConfig, StudentOptions, TrainingOptions, DistillOptions),
    *(kind.Options for kind in (*STRATEGIES.values(), *WEIGHTINGS.values())),
]


class Inner(Options):
    width: int = 4
    """How wide."""


class Base(Options):
    rate: float = Field(0.5, gt=0, le=1)
    """The rate,
    as a | b."""


class Everything(Base):
    rate: float = Field(0.1, gt=0, le=1)
    kind: Literal["one", "two", "three"] = "one"
    count: int | None = Field(None, ge=1)
    flag: bool = True
    pair: tuple[int, int] | None = (1, 2)
    many: tuple[Annotated[int, Field(ge=-1)], ...] = ()
    inner: Inner = Inner(width=8)
    inners: tuple[Inner, ...] = ()
    named: str | type[Any] = "x"
    loose: dict[str, Any] = Field(default_factory=dict)


def test_values_and_defaults() -> None:
    shown = {option.name: (option.values, option.default) for option in describe(Everything)}
    assert shown == {
        "rate": ("number > 0 and <= 1", "0.1"),
        "kind": ("one, two or three", "one"),
        "count": ("integer >= 1 or null", "null"),
        "flag": ("true or false", "true"),
        "pair": ("list of 2 integers or null", "[1, 2]"),
        "many": ("list of integers >= -1", "[]"),
        "inner": ("mapping of Inner", '{"width": 8}'),
        "inners": ("list of mappings of Inner", "[]"),
        "named": ("string or class", "x"),
        "loose": ("mapping", "{}"),
    }


def test_a_changed_default_keeps_the_docstring() -> None:
    assert describe(Everything)[0].meaning == "The rate, as a | b."


def test_markdown_cells_stay_apart() -> None:
    row = as_markdown(describe(Base)).splitlines()[2]
    assert row == "| `rate` | number > 0 and <= 1 | `0.5` | The rate, as a \\| b. |"


def test_text_keeps_to_its_width() -> None:
    text = as_text(describe(TrainingOptions), width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "epochs: integer >= 1 (default: 200)\n    Maximum number of epochs." in text


def test_defaults_of_graph_tasks_and_hidden_labels_are_shown() -> None:
    defaults = {option.name: option.default for option in options_of(STRATEGIES["gml"])}
    assert defaults["weight"] == "1.0 (graph task: 0.3, graph task with hidden labels: 1.0)"
    assert defaults["target_temperature"] == "0.5 (graph task: 1.0)"
    assert defaults["exchange_on"] == "all (hidden labels: training)"
    assert defaults["class_prior_weight"] == "null (hidden labels: 3.0, graph task with hidden labels: null)"
    assert defaults["temperature"] == "1.0"
    assert defaults["exchange_warmup"] == "null"
    cells = {row.split(" | ")[0]: row for row in as_markdown(options_of(STRATEGIES["gml"])).splitlines()}
    assert "| `1.0` (graph task: `0.3`, graph task with hidden labels: `1.0`) |" in cells["| `weight`"]
    assert "| `all` (hidden labels: `training`) |" in cells["| `exchange_on`"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_option_is_explained(kind: type[Options]) -> None:
    assert [option.name for option in describe(kind) if not option.meaning or not option.values] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_changed_default_keeps_the_bounds(kind: type[Options]) -> None:
    lost = [
        name
        for base in kind.__mro__[1:]
        if issubclass(base, BaseModel) and issubclass(base, Options)
        for name, field in base.model_fields.items()
        if len(kind.model_fields[name].metadata) < len(field.metadata)
    ]
    assert lost == []
