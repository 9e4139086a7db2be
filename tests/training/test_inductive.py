"""Node tasks on many graphs: what training sees, and that it sees nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dgl_mutual
from dgl_mutual.data import load_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import splits_whole_graphs, unlabelled_samples
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.distill import distill
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds import make_feed
from dgl_mutual.training.feeds.full_graph import FullGraphFeed
from dgl_mutual.training.feeds.inductive import NodesOfGraphsFeed
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trial_data import make_trial_data
from tests.data.ppi import ppi_files, write_ppi
from tests.training.conftest import Fit
from tests.training.cuts import Cut, CutAfter, same


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    write_ppi(folder / "ppi", ppi_files())
    return load_dataset("PPI", data_dir=folder, offline=True)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    assert dataset.official_split is not None
    return dataset.official_split


def feed_of(dataset: Dataset, split: Split, batch_size: int | None = None) -> NodesOfGraphsFeed:
    feed = make_feed(dataset, split, batch_size=batch_size, order=torch.Generator().manual_seed(0), placement=Placement())
    assert isinstance(feed, NodesOfGraphsFeed)
    return feed


@pytest.mark.parametrize("batch_size", [None, 6])
def test_an_epoch_sees_each_training_node_once_and_no_other(dataset: Dataset, split: Split, batch_size: int | None) -> None:
    feed = feed_of(dataset, split, batch_size)
    for _ in range(2):
        batches = list(feed.training_batches())
        assert len(batches) == (1 if batch_size is None else 4)
        seen = torch.cat([batch.samples for batch in batches])
        assert sorted(seen.tolist()) == split.train.tolist()
        for batch in batches:
            np.testing.assert_array_equal(batch.batch.features.numpy(), dataset.features[batch.samples])
            assert batch.labelled.tolist() == list(range(len(batch.samples)))


def test_only_some_nodes_of_a_training_graph_may_have_labels(dataset: Dataset, split: Split) -> None:
    some = replace(split, train=split.train[::3])
    (batch,) = feed_of(dataset, some).training_batches()
    assert sorted(batch.samples[batch.labelled].tolist()) == some.train.tolist()


def test_evaluation_covers_the_graphs_of_the_samples(dataset: Dataset, split: Split) -> None:
    for part in (split.val, split.test, np.concatenate([split.train, split.val])):
        numbers = torch.cat([numbers for _, numbers in feed_of(dataset, split).evaluation_batches(part)])
        assert sorted(numbers.tolist()) == part.tolist()


def test_other_graphs_come_along_without_labels_where_a_strategy_asks_for_it(dataset: Dataset, split: Split) -> None:
    feed = feed_of(dataset, split)
    feed.add_unlabelled(np.setdiff1d(np.arange(dataset.num_samples), split.train))
    (batch,) = feed.training_batches()
    assert len(batch.samples) == dataset.num_samples
    assert sorted(batch.samples[batch.labelled].tolist()) == split.train.tolist()


def test_hidden_labels_of_a_whole_graph_leave_it_among_what_training_sees(dataset: Dataset, split: Split) -> None:
    graph_of = np.repeat(np.arange(dataset.num_graphs), np.diff(dataset.node_offsets))
    hidden = split.train[graph_of[split.train] == graph_of[split.train[0]]]
    few = replace(split, train=np.setdiff1d(split.train, hidden), unlabelled=hidden)
    assert np.array_equal(unlabelled_samples(dataset, few, transductive=False), hidden)
    everything = np.setdiff1d(np.arange(dataset.num_samples), few.train)
    assert np.array_equal(unlabelled_samples(dataset, few, transductive=True), everything)


def test_a_given_split_by_graph_has_steps_of_a_batch_size(dataset: Dataset, split: Split) -> None:
    without = dataset.replaced(official_splits=())
    result = dgl_mutual.fit(without, split=split, students="gcn,sage", strategy="independent", training={"batch_size": 5, "epochs": 1})
    assert result.config["training"]["batch_size"] == 5


def test_a_split_that_divides_graphs_is_transductive(dataset: Dataset, split: Split) -> None:
    moved = Split(split.train[1:], np.append(split.val, split.train[0]), split.test)
    assert not splits_whole_graphs(dataset, moved)
    feed = make_feed(dataset, moved, batch_size=None, order=torch.Generator(), placement=Placement())
    assert isinstance(feed, FullGraphFeed)
    with pytest.raises(
        UsageError, match="A step on the nodes of graphs whose nodes the split mixes sees all of them, so a batch size of 5"
    ):
        dgl_mutual.fit(dataset, split=moved, students="gcn,sage", training={"batch_size": 5, "epochs": 1})


@pytest.mark.parametrize(
    ("strategy", "training"), [*((name, {}) for name in STRATEGIES), ("gml", {"sampler": "neighbor", "fanout": (3, 3), "batch_size": 50})]
)
def test_no_strategy_learns_from_other_graphs(dataset: Dataset, split: Split, fit: Fit, strategy: str, training: dict[str, Any]) -> None:
    """What test graphs hold, features, edges and labels, changes nothing in what is learned."""
    given = {"strategy": strategy, "strategy_options": {"target": "naive"} if strategy == "kdcl" else {}, "training": training, "epochs": 2}
    one = fit((dataset, split), **given)
    features, labels = dataset.features.copy(), dataset.labels.copy()
    features[split.test], labels[split.test] = 0.25, 1 - labels[split.test]
    edges = dataset.edges[:, : dataset.edge_offsets[22]]
    other = fit((replace(dataset, features=features, labels=labels, edges=edges), split), **given)
    assert one.history == other.history
    for ours, theirs in zip(one.cohort.state_dict().values(), other.cohort.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert one["mean"].test != other["mean"].test


def test_students_learn_and_a_graph_alone_gets_the_same_prediction(dataset: Dataset, split: Split, fit: Fit) -> None:
    students = [StudentOptions(architecture="sage", hidden=32, dropout=0.0), StudentOptions(architecture="gin", hidden=32, dropout=0.0)]
    result = fit((dataset, split), students, epochs=80)
    assert result["mean"].test > 0.75
    nodes = slice(*dataset.node_offsets[[22, 23]])
    first, last = dataset.edge_offsets[[22, 23]]
    alone = replace(
        dataset,
        edges=dataset.edges[:, first:last] - nodes.start,
        features=dataset.features[nodes],
        labels=dataset.labels[nodes],
        node_offsets=dataset.node_offsets[[22, 23]] - nodes.start,
        official_splits=(),
        sample_ids=None,
    )
    np.testing.assert_allclose(result.predict(alone), result.predict()[nodes], atol=1e-6)


def test_mini_batches_train_too_and_the_mlp_sees_training_graphs_alone(dataset: Dataset, split: Split, fit: Fit) -> None:
    result = fit((dataset, split), epochs=2, training={"batch_size": 5})
    by_name = dgl_mutual.fit(dataset, students="gcn,sage", training={"batch_size": 5, "epochs": 1}, student={"hidden": 8})
    assert len(by_name.history) == 1
    distilled = distill(result, make_trial_data(dataset, split, 0.0, seed=0), DistillOptions(epochs=2), seed=TrialSeed())
    assert 0 < distilled["mlp"].test < 1
    with pytest.raises(UsageError, match="never seen anyway"):
        make_trial_data(dataset, split, 0.5, seed=0)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_training_that_was_cut_goes_on_to_the_bit(
    dataset: Dataset, split: Split, fit: Fit, tmp_path: Path, batch_size: int | None
) -> None:
    """Dropout falls on rows: they must be in the same order again."""
    for seed in range(4):  # two orders of a few graphs may be the same
        options = {"strategy": "independent", "training": {"batch_size": batch_size}, "seed": seed}
        whole = fit((dataset, split), epochs=6, **options)
        snapshots = Snapshots(tmp_path / f"{seed}" / "0.safetensors", 1)
        with pytest.raises(Cut):
            fit((dataset, split), epochs=6, **options, snapshots=snapshots, callbacks=[CutAfter(4)])
        same(fit((dataset, split), epochs=6, **options, snapshots=snapshots), whole)


def test_weights_for_each_sample_are_refused(dataset: Dataset, split: Split, fit: Fit) -> None:
    with pytest.raises(UsageError, match="inductive"):
        fit((dataset, split), strategy="gml", strategy_options={"weighting": "transductive"})


def test_a_folder_in_csv_form_is_inductive_where_its_masks_are(tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text(
        "dataset_name: many\nnode_data:\n- file_name: nodes.csv\nedge_data:\n- file_name: edges.csv\n", encoding="utf-8"
    )
    rows = ["graph_id,node_id,x,label,train_mask,val_mask,test_mask"]
    for graph in range(6):
        part = min(graph, 5) if graph > 3 else 3
        masks = ",".join(str(part == which) for which in (3, 4, 5))
        rows += [f"{graph},{node},{node % 2},{node % 2},{masks}" for node in range(4)]
    (tmp_path / "nodes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "edges.csv").write_text("graph_id,src_id,dst_id\n" + "".join(f"{graph},0,2\n{graph},2,0\n" for graph in range(6)))
    dataset = load_dataset(tmp_path)
    assert dataset.task == "node" and dataset.num_graphs == 6
    assert dataset.official_split is not None and splits_whole_graphs(dataset, dataset.official_split)


def test_a_graph_with_labelled_and_other_nodes_is_seen_once(dataset: Dataset, split: Split) -> None:
    some = replace(split, train=split.train[::3])
    feed = feed_of(dataset, some)
    feed.add_unlabelled(np.setdiff1d(split.train, some.train))
    seen = torch.cat([batch.samples for batch in feed.training_batches()])
    assert sorted(seen.tolist()) == split.train.tolist()
