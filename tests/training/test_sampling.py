"""Neighbour sampling: with all neighbours it is the full graph; a smaller fan-out is a sample of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn import blocks
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.training.feeds.sampled import NeighbourFeed, resolve_fanout
from dgl_mutual.training.options import TrainingOptions, resolve_training
from tests.strategies.cases import SMALL, make_dataset
from tests.training.small_data import Data

ARCHITECTURES = ("gcn", "gat", "gin", "sage")
ALL = {"sampler": "neighbor", "fanout": (-1, -1)}


def feed_of(data: Data, fanout: tuple[int, ...] = (-1, -1), batch_size: int = 24, seed: int = 0) -> NeighbourFeed:
    placement, order = Placement(dtype=torch.float64), torch.Generator().manual_seed(seed)
    return NeighbourFeed(*data, placement, fanout=fanout, batch_size=batch_size, order=order)


def student(architecture: str, data: Data, **options: object) -> Student:
    torch.manual_seed(0)
    resolved = resolve_student(StudentOptions(architecture=architecture, dropout=0.0, **{**SMALL, **options}), "node")
    return Student(resolved, "node", data[0].num_features, 3).double()


def as_sparse(data: Data) -> Data:
    return replace(data[0], features=sparse.csr_matrix(np.where(data[0].features > 0.3, data[0].features, 0))), data[1]


def directed(data: Data) -> Data:
    dataset = data[0]
    return replace(dataset, edges=dataset.edges[:, ::2]), data[1]


CHANGES = [
    {},
    {"depth": 1},
    {"norm": "batch"},
    {"readout": "jumping"},
    {"depth": 1, "readout": "jumping"},
]


@pytest.mark.parametrize("shape", [lambda data: data, as_sparse, directed], ids=["dense", "sparse", "directed"])
@pytest.mark.parametrize("options", CHANGES, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_with_all_neighbours_give_the_full_graphs_states_and_gradients(architecture, options, shape, node_data):
    data = shape(node_data)
    model = student(architecture, data, **options).eval()
    (step,) = feed_of(data).training_batches()
    whole, part = Collator(data[0], dtype=torch.float64).all(), step.batch
    gradients = []
    for batch, rows in ((whole, step.samples), (part, slice(None))):
        model.zero_grad()
        output = model.forward_batch(batch)
        (output.logits[rows] * torch.arange(3)).square().sum().backward()
        gradients.append((output.logits[rows], output.embedding[rows], *(parameter.grad for parameter in model.parameters())))
    for full, sampled in zip(*gradients, strict=True):
        torch.testing.assert_close(sampled, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_before_products_give_the_same(architecture, node_data, monkeypatch):
    steps = feed_of(node_data, fanout=(4, 1), batch_size=2).training_batches()
    batch = next(step.batch for step in steps if step.batch.adjacencies(2)[0].narrows)
    model = student(architecture, node_data)
    results = []
    for narrows in (True, False):
        monkeypatch.setattr(Adjacency, "narrows", narrows)
        model.zero_grad()
        output = model.forward_batch(batch)
        output.logits.square().sum().backward()
        results.append((output.logits, *(parameter.grad for parameter in model.parameters())))
    for first, last in zip(*results, strict=True):
        torch.testing.assert_close(first, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [lambda data: data, as_sparse, directed], ids=["dense", "sparse", "directed"])
@pytest.mark.parametrize("options", CHANGES, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layer_by_layer_equals_one_pass(architecture, options, shape, node_data, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_NODES", 7)
    monkeypatch.setattr(blocks, "CHUNK_EDGES", 13)
    data = shape(node_data)
    model = student(architecture, data, **options).eval()
    whole = Collator(data[0], dtype=torch.float64).all()
    samples = torch.tensor([40, 3, 5, 47, 0])
    with torch.no_grad():
        full, layered = model.forward_batch(whole), model.forward_batch(LayerwiseBatch(whole, samples))
    torch.testing.assert_close(layered.logits, full.logits[samples], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layered.embedding, full.embedding[samples], rtol=1e-9, atol=1e-9)


def test_chunks_are_bounded_and_cover_every_node_once(node_data, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_NODES", 7)
    monkeypatch.setattr(blocks, "CHUNK_EDGES", 13)
    whole = Collator(node_data[0]).all()
    most = int(whole.in_degrees.max())
    for adjacency in LayerwiseBatch(whole, torch.arange(48)).adjacencies(2):
        chunks = list(adjacency.chunks())
        assert all(chunk.num_destinations <= 7 and len(chunk.sources) <= max(13, most) for _, chunk in chunks)
        assert torch.equal(torch.cat([torch.arange(48)[rows] for rows, _ in chunks]), torch.arange(48))
        assert torch.equal(torch.cat([torch.arange(48)[chunk.dst_index] for _, chunk in chunks]), torch.arange(48))
        assert sum(len(chunk.sources) for _, chunk in chunks) == node_data[0].num_edges


def trajectory(result):
    return [{name: value for name, value in row.items() if not name.startswith("train/")} for row in result.history]


OPTIONS = {
    "gml": {"weighting": "attention", "exchange_warmup": (0, 0)},
    "kd": {"teacher": {**SMALL, "dropout": 0.0}},
    "okddip": {"leader": {**SMALL, "dropout": 0.0}},
}


WHOLE = [(name, OPTIONS.get(name, {})) for name in sorted(set(STRATEGIES) - {"alignahead", "oad"})]


@pytest.mark.parametrize(("name", "options"), [*WHOLE, ("gml", {**OPTIONS["gml"], "targets": "best"})])
def test_all_neighbours_and_one_batch_give_the_full_graphs_trajectory(name, options, node_data, fit):
    """Half of the nodes are training nodes, so a step draws all others, too."""
    students = [StudentOptions(architecture=architecture, dropout=0.0, **SMALL) for architecture in ("gin", "gat")]
    settings = {"strategy": name, "strategy_options": options, "dtype": torch.float64}
    full = fit(node_data, students, **settings)
    sampled = fit(node_data, students, training={**ALL, "batch_size": 24}, **settings)
    for one, other in zip(trajectory(full), trajectory(sampled), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert other[key] == pytest.approx(value, rel=1e-7, abs=1e-9), key
    for one, other in zip(full.members, sampled.members, strict=True):
        assert (other.train, other.val, other.test, other.best_epoch) == (one.train, one.val, one.test, one.best_epoch)


@pytest.mark.parametrize(("name", "is_same"), [("independent", True), ("dml", False)])
def test_with_few_training_nodes_a_step_draws_as_few_others(name, is_same, node_data, fit):
    """So a strategy whose members learn from each other on all nodes does not train as on the full graph."""
    dataset, split = node_data
    few = dataset, Split(split.train[:12], np.concatenate([split.train[12:], split.val]), split.test)
    students = [StudentOptions(architecture=architecture, dropout=0.0, **SMALL) for architecture in ("gin", "gat")]
    settings = {"strategy": name, "dtype": torch.float64, "epochs": 2}
    full, sampled = (trajectory(fit(few, students, training=one, **settings)) for one in ({}, {**ALL, "batch_size": 12}))
    for key, value in full[1].items():
        if key.startswith("loss/"):
            assert (sampled[1][key] == pytest.approx(value, rel=1e-7, abs=1e-9)) is is_same, key


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"alignahead"}))
def test_every_strategy_with_a_sampled_form_trains_and_repeats(name, kind, fit):
    dataset = make_dataset("node", kind)
    order = np.random.default_rng(0).permutation(30)
    data = dataset, Split(*np.split(order, [12, 20]))
    settings = {
        "strategy": name,
        "strategy_options": {"target": "mean"} if name == "kdcl" else OPTIONS.get(name, {}),
        "training": {"sampler": "neighbor", "fanout": (2, 2), "batch_size": 5},
        "epochs": 2,
    }
    first, second = (fit(data, ("gcn", "gat"), **settings).history for _ in range(2))
    assert first == second
    assert all(np.isfinite(value) for row in first for value in row.values())


def test_the_consensus_of_sampled_steps_is_that_of_the_full_graph(node_data, fit):
    students = [StudentOptions(architecture=architecture, dropout=0.0, **SMALL) for architecture in ("gin", "gat", "gcn")]
    settings = {"strategy_options": {"weighting": "consensus", "targets": "train"}, "dtype": torch.float64}
    full = fit(node_data, students, **settings)
    sampled = fit(node_data, students, training={**ALL, "batch_size": 24}, **settings)
    assert full.cohort.coordinator.predicted.any()
    torch.testing.assert_close(sampled.cohort.coordinator.agreed, full.cohort.coordinator.agreed)
    in_steps = fit(node_data, students, training={**ALL, "batch_size": 8}, **settings)
    assert in_steps.cohort.coordinator.predicted.sum(-1).allclose(in_steps.cohort.coordinator.predicted.sum(-1)[0])


def test_strategies_without_a_sampled_form_refuse(node_data, fit):
    sampled = {"training": {"sampler": "neighbor", "fanout": (2, 2), "batch_size": 8}}
    with pytest.raises(UsageError, match="cannot train on sampled neighbourhoods"):
        fit(node_data, strategy="alignahead", **sampled)
    with pytest.raises(UsageError, match="two layers"):
        shallow = [StudentOptions(depth=1, **SMALL)] * 2
        fit(node_data, shallow, strategy="oad", training={**sampled["training"], "fanout": (2,)})
    with pytest.raises(UsageError, match="transductive"):
        fit(node_data, strategy_options={"weighting": "transductive"}, **sampled)
    needed = r"needs predictions on all nodes after each epoch .targets: ema.* Choose .*targets=eval, best or train, or leave out --sampler"
    with pytest.raises(UsageError, match=needed):
        fit(node_data, strategy_options={"targets": "ema"}, **sampled)

    class Mine(ExchangeStrategy):
        def exchange(self) -> Exchange:
            return Exchange("ema", decay=0.9, on="labelled")

        def loss_terms(self, step: Any) -> Any: ...

    with pytest.raises(UsageError, match=r"Choose other targets in its exchange\(\), eval, best or train, or leave out --sampler"):
        fit(node_data, strategy=Mine, **sampled)


def test_steps_of_an_epoch(node_data):
    dataset, split = node_data
    feed = feed_of(node_data, fanout=(2, 1), batch_size=10)
    feed.add_unlabelled(np.concatenate([split.val, split.test]))
    for _ in range(2):
        known, others = [], []
        for step in feed.training_batches():
            known.append(step.samples[step.labelled])
            others.append(step.samples[len(known[-1]) :])
            assert len(known[-1]) == len(others[-1]) == 8
            first, last = step.batch.adjacencies(2)
            assert first.num_destinations == last.num_sources and last.num_destinations == 16
            assert (first.in_offsets.diff() <= 2).all() and (last.in_offsets.diff() <= 1).all()
            np.testing.assert_array_equal(step.batch.inputs(0), dataset.features[step.samples])
        np.testing.assert_array_equal(np.sort(torch.cat(known)), split.train)
        np.testing.assert_array_equal(np.sort(torch.cat(others)), np.sort(np.concatenate([split.val, split.test])))


def test_an_epoch_draws_as_many_other_nodes_as_it_has_training_nodes(node_data):
    dataset, split = node_data
    few, rest = np.split(split.train, [8])
    unlabelled = np.concatenate([rest, split.val, split.test])
    feed = feed_of((dataset, replace(split, train=few)), fanout=(2, 1), batch_size=4)
    feed.add_unlabelled(unlabelled)
    drawn = [np.concatenate([step.samples[4:] for step in feed.training_batches()]) for _ in range(6)]
    assert all(len(np.unique(others)) == len(others) == 8 and np.isin(others, unlabelled).all() for others in drawn)
    assert len(np.unique(np.concatenate(drawn))) > 20  # each epoch draws anew


@pytest.mark.parametrize("architecture", ["gcn", "gin", "sage"])
def test_aggregation_over_samples_is_right_in_expectation(architecture, node_data):
    """Samples of two neighbours: their mean must be what all neighbours give."""
    model = student(architecture, node_data, depth=1).eval()
    if architecture == "gin":  # made linear, so that the expectation passes through
        model.convolutions[0].bias.data += 1000
    feed, total, order = feed_of(node_data, fanout=(2,)), 0.0, torch.as_tensor(node_data[1].train)
    with torch.no_grad():
        for _ in range(300):
            (step,) = feed.training_batches()
            total = total + model.forward_batch(step.batch).logits[step.samples.argsort()]
        full = model.forward_batch(Collator(node_data[0], dtype=torch.float64).all()).logits[order]
    assert (total / 300 - full).abs().max() < 0.3 * full.std(0).max()
    assert (total / 300 - full).abs().mean() < 0.06 * full.std(0).max()


def test_other_random_numbers_do_not_matter(node_data):
    import dgl

    draws = []
    for disturbance in (0, 1):
        dgl.seed(disturbance)
        draws.append([step.batch.adjacencies(2)[0].sources for step in feed_of(node_data, fanout=(2, 1), batch_size=8).training_batches()])
    for one, other in zip(*draws, strict=True):
        assert torch.equal(one, other)


def test_processes_that_divide_nodes_draw_neighbours_of_their_own(node_data):
    class Other(Ranks):
        stream = 1

    drawn = []
    for ranks in (Ranks(), Other()):
        order = torch.Generator().manual_seed(0)
        feed = NeighbourFeed(*node_data, Placement(dtype=torch.float64, ranks=ranks), fanout=(1, 1), batch_size=24, order=order)
        (step,) = feed.training_batches()
        drawn.append((step.samples, step.batch.adjacencies(2)[1].sources))
    (nodes, sources), (same_nodes, others) = drawn
    assert torch.equal(nodes, same_nodes) and not torch.equal(sources, others)


def test_bad_inputs(node_data, graph_data):
    with pytest.raises(UsageError, match=r"10,10,10 has 3 numbers.*2 convolutions.*--fanout 10,10"):
        resolve_fanout((10, 10, 10), [2, 1])
    with pytest.raises(UsageError, match=r"5 has 1 number, one for each convolution, .* has 2 convolutions"):
        resolve_fanout((5,), [2, 1])
    assert resolve_fanout(None, [2, 3]) == (10, 10, 10)
    for task, options, message in (
        ("graph", {"sampler": "neighbor"}, "node task"),
        ("node", {"sampler": "neighbor", "edge_drop": 0.1}, "edge_drop"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve_training(TrainingOptions(**options), (graph_data if task == "graph" else node_data)[0])


def test_a_batch_larger_than_the_training_part_is_all_of_it(node_data):
    whole, larger = (feed_of(node_data, batch_size=size) for size in (24, 1000))
    for one, other in zip(whole.training_batches(), larger.training_batches(), strict=True):  # one step each
        np.testing.assert_array_equal(one.samples, other.samples)
        assert set(node_data[1].train) <= set(one.samples.tolist())


def test_masked_features_reach_blocks(node_data, fit):
    plain, masked = (fit(node_data, training={**ALL, "batch_size": 8, "feature_mask": rate}, strategy="independent") for rate in (0.0, 0.9))
    assert plain.history != masked.history


def test_blocks_have_the_features_of_their_nodes(node_data):
    (step,) = feed_of(as_sparse(node_data), fanout=(1, 1)).training_batches()
    assert isinstance(step.batch, BlockBatch)
    features = as_sparse(node_data)[0].features[step.samples.numpy()].toarray()
    np.testing.assert_allclose(step.batch.inputs(0).csr.to_dense(), features)


def test_fan_outs_are_read_from_the_command_line_and_from_yaml():
    for written in ("10,-1", [10, -1], (10, -1)):
        assert parse_options(TrainingOptions, {"fanout": written}).fanout == (10, -1)
    assert parse_options(TrainingOptions, {"fanout": 5}).fanout == (5,)
    for wrong in ("ten", "10,", "-2", []):
        with pytest.raises(UsageError, match="fanout"):
            parse_options(TrainingOptions, {"fanout": wrong})


def test_samples_do_not_depend_on_the_number_of_threads(node_data: Data) -> None:
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 2, 4, 2):
            torch.set_num_threads(threads)
            steps = list(feed_of(node_data, fanout=(2, 2), batch_size=8).training_batches())
            assert torch.get_num_threads() == threads
            drawn.append([adjacency.sources.tolist() for step in steps for adjacency in step.batch.adjacencies(2)])
    finally:
        torch.set_num_threads(before)
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]
