"""Search spaces of options, of this package and custom ones."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

import dgl_mutual as dm
from dgl_mutual.coordinator import WeightingOptions
from dgl_mutual.errors import UsageError
from dgl_mutual.options import Options, fault_of_options
from dgl_mutual.search_space import Categorical, Integer, Real, SearchSpace
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.weightings import WEIGHTINGS
from tests.small_graph import fit as short


def searched(space: Any, **bounds: Any) -> type[dm.Strategy]:
    class Own(StrategyOptions):
        search_space = space
        strength: float = Field(1.0, ge=0)
        kind: Literal["a", "b"] = "a"

    return type("Mine", (dm.Strategy,), {"Options": Own, "loss_terms": lambda self, step: {"supervised": self.supervised(step)}})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([("strength", Real(0.1, 1.0))], "It must be a mapping from names of options"),
        ({"nothing": Real(0.1, 1.0)}, r"has search_space\['nothing'\], which is none of its options \(strength, kind\)"),
        ({"strength": (0.1, 1.0)}, r"search_space\['strength'\] = \(0\.1, 1\.0\)\. It must be a Real, Integer or Categorical"),
        ({"strength": Real(1.0, 0.1)}, "The ends must be numbers, the lower one first"),
        ({"strength": Real(0.0, 1.0, log=True)}, "above 0 on a logarithmic scale"),
        ({"strength": Real(0.0, float("inf"))}, "The ends must be finite"),
        ({"strength": Integer(3, 1)}, "The ends must be integers"),
        ({"strength": Real(-5.0, 1.0)}, r"strength = -5\.0 is refused: .*0"),
        ({"kind": Categorical(())}, "a choice without values"),
        ({"kind": Categorical(("a", "c"))}, "kind = 'c' is refused"),
        ({"kind": Categorical(("a", 1j.conjugate))}, "a configuration cannot hold the value <built-in .* Give strings, numbers"),
        ({"strength": Real(np.float32(2), np.float32(1))}, "The ends must be numbers, the lower one first"),
    ],
)
def test_a_search_space_that_cannot_be_drawn_from_is_refused(space, message):
    with pytest.raises(UsageError, match=message):
        short(strategy=searched(space))


def test_search_spaces_that_can_be_drawn_from():
    short(strategy=searched({"strength": Real(0.1, 1.0, log=True), "kind": Categorical(("a", "b"))}))
    short(strategy=searched({"strength": Real(np.float32(0.5), np.float32(2)), "kind": Categorical((np.str_("a"), "b"))}))
    short(strategy=searched({"strength": Integer(np.int64(1), np.int64(3))}))
    short(strategy=searched({"strength.of.a.group": Real(0.1, 1.0)}))  # a key of a group within


def test_a_search_space_that_would_not_be_read_is_refused():
    beside = searched({})
    beside.search_space = {"strength": Real(0.1, 1.0)}
    with pytest.raises(UsageError, match=r"Mine has a search_space, .* Move it to its Options, now Own"):
        short(strategy=beside)

    class Sharp(WeightingOptions):
        search_space: ClassVar[SearchSpace] = {"sharpness": Real(0.1, 1.0)}
        sharpness: float = 1.0

    weighting = type("Mine", (dm.Weighting,), {"Options": Sharp, "scores": lambda self, logits, confidence, samples: logits[:, None]})
    with pytest.raises(UsageError, match="options Sharp with a search_space, and options of a weighting are not searched"):
        short(strategy_options={"weighting": weighting})


@pytest.mark.parametrize("kind", [*STRATEGIES.values(), *WEIGHTINGS.values()], ids=lambda kind: kind.name)
def test_search_spaces_of_built_in_options_can_be_drawn_from(kind):
    assert fault_of_options(kind, Options, "dgl_mutual.options.Options") is None
