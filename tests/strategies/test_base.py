from __future__ import annotations

import pytest

from dgl_mutual.distributions import Categorical
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import STRATEGIES, resolve_strategy
from dgl_mutual.strategies.base.exchange import Exchange, ExchangeOn
from dgl_mutual.strategies.base.options import ExchangeOptions, Unlabelled
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.dml import DeepMutualLearning
from dgl_mutual.strategies.gml import GMLOptions
from tests.strategies.cases import NUM_CLASSES, make_dataset


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("readout", ["last", "jumping"])
def test_a_setting_knows_the_widths_that_students_have(task, depth, readout):
    options = resolve_student(StudentOptions(depth=depth, hidden=6, readout=readout), task)
    output = Student(options, task, 5, NUM_CLASSES).forward_batch(Collator(make_dataset(task, "single-label")).all())
    setting = Setting(task, (options,) * 2, 2, NUM_CLASSES, None, Categorical())
    states = output.hidden if len(output.hidden) == depth else (*output.hidden, output.logits)
    assert setting.embedding_width(0) == output.embedding.shape[1]
    assert setting.state_widths(0) == tuple(own.shape[1] for own in states)
    assert setting.last_hidden_width(0) == (output.hidden[-1] if output.hidden else output.logits).shape[1]


@pytest.mark.parametrize(
    ("warmup", "factors"),
    [((0, 0), [1, 1, 1, 1]), ((2, 0), [0, 0, 1, 1]), ((1, 2), [0, 0.5, 1, 1]), ((0, 4), [0.25, 0.5, 0.75, 1])],
)
def test_lambda_ramps_up(warmup, factors):
    assert [Exchange(warmup=warmup).ramp(epoch) for epoch in range(4)] == factors
    assert ExchangeOptions(exchange_warmup=warmup).exchange().warmup == warmup


@pytest.mark.parametrize(("epochs", "warmup"), [(200, (50, 50)), (30, (7, 7)), (3, (0, 0))])
def test_a_warmup_left_open_is_a_quarter_of_the_epochs(epochs, warmup):
    assert ExchangeOptions(exchange_warmup=None).resolved(epochs, "node") == ExchangeOptions(exchange_warmup=warmup)
    given = ExchangeOptions(exchange_warmup=(1, 2))
    assert given.resolved(epochs, "graph") == given


def test_a_default_that_a_custom_class_declares_stays_where_labels_are_hidden():
    class Labelled(ExchangeOptions):
        exchange_on: ExchangeOn = "labelled"

    class Below(Labelled):
        temperature: float = 2.0

    class Transductive(GMLOptions):
        exchange_on: ExchangeOn = "transductive"

    for kind, expected in ((ExchangeOptions, "training"), (Labelled, "labelled"), (Below, "labelled"), (Transductive, "transductive")):
        assert kind().resolved(8, "graph", Unlabelled()).exchange_on == expected
    assert Labelled(exchange_on="all").resolved(8, "node", Unlabelled()).exchange_on == "all"


def test_gml_is_lighter_on_graph_tasks_unless_told_otherwise():
    node, graph = (GMLOptions().resolved(8, task) for task in ("node", "graph"))
    assert (node.weight, node.target_temperature, node.mix) == (1.0, 0.5, "probabilities")
    assert (graph.weight, graph.target_temperature, graph.mix) == (0.3, 1.0, "logits")
    given = GMLOptions(weight=1.0, mix="probabilities").resolved(8, "graph")
    assert (given.weight, given.target_temperature, given.mix) == (1.0, 1.0, "probabilities")
    assert GMLOptions(**graph.model_dump()).resolved(8, "graph") == graph


def test_a_negative_warmup_is_refused():
    with pytest.raises(UsageError, match="exchange_warmup takes two epochs"):
        parse_options(ExchangeOptions, {"exchange_warmup": [-1, 2]})


def test_the_scale_is_lambda_times_the_squared_temperature():
    assert ExchangeOptions(weight=0.5, temperature=3).scale == 4.5
    assert ExchangeOptions(weight=0.5, temperature=3, scale_by_temperature=False).scale == 0.5
    assert ExchangeOptions(temperature=3).peers_temperature == 3
    assert ExchangeOptions(temperature=3, target_temperature=0.5).peers_temperature == 0.5


def test_a_strategy_is_found_by_name_or_given_as_a_class():
    assert resolve_strategy("dml") is resolve_strategy(DeepMutualLearning) is DeepMutualLearning
    with pytest.raises(UsageError, match="Did you mean 'okddip'"):
        resolve_strategy("okddib")
    assert list(STRATEGIES) == sorted(STRATEGIES)
