"""Pools of unlabelled graphs: which graphs they bring, and which are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.pool import graph_hashes, with_pool, without_pool
from dgl_mutual.data.protocols import make_splits
from dgl_mutual.data.values.features import compact
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.loading import DataSource, joined_with_pool, takes_edge_features

Graph = tuple[np.ndarray, np.ndarray]  # edges (2, |E|), features (|V|, 2)


def graphs(seed: int, count: int = 8) -> list[Graph]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = int(random.integers(4, 9))
        ends = random.integers(size, size=(2, 3 * size))
        ends = ends[:, ends[0] != ends[1]]
        found.append((np.concatenate([ends, ends[::-1]], axis=1), random.integers(3, size=(size, 2)).astype(np.float32)))
    return found


def dataset_of(many: list[Graph], name: str = "some", **more: object) -> Dataset:
    offsets = np.cumsum([0, *(len(features) for _, features in many)])
    edges = np.concatenate([ends + first for (ends, _), first in zip(many, offsets[:-1], strict=True)], axis=1)
    features = np.concatenate([features for _, features in many])
    labels = np.arange(len(many)) % 2
    return Dataset.from_arrays(edges, features, labels, node_offsets=offsets, name=name, **{"feature_names": ("x", "y"), **more})


def differing_in_edge_features() -> tuple[Dataset, Dataset]:
    """A dataset, and a pool of 3 other graphs and 4 of the dataset, with another value of the edge feature."""
    many = graphs(0)
    dataset, pool = (
        one.replaced(edge_features=np.full((one.num_edges, 1), value, dtype=np.float32), edge_feature_names=("b",), edge_feature_kinds=())
        for one, value in ((dataset_of(many), 1.0), (dataset_of([*graphs(1, 3), *many[:4]], "pool"), 2.0))
    )
    return dataset, pool


def renumbered(graph: Graph, seed: int) -> Graph:
    ends, features = graph
    order = np.random.default_rng(seed).permutation(len(features))
    return np.argsort(order)[ends], features[order]


def test_the_hash_does_not_depend_on_the_numbering_of_nodes_nor_on_sparse_storage() -> None:
    many = graphs(0)
    dataset = dataset_of(many)
    hashes = graph_hashes(dataset)
    assert len(set(hashes)) == len(many)
    np.testing.assert_array_equal(hashes, graph_hashes(dataset_of([renumbered(graph, 5) for graph in many])))
    np.testing.assert_array_equal(hashes, graph_hashes(dataset.replaced(features=sparse.csr_matrix(dataset.features))))


@pytest.mark.parametrize("what", ["edge", "feature", "swapped columns", "node"])
def test_the_hash_depends_on_edges_features_and_nodes(what: str) -> None:
    edges = np.array([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    features = np.array([[1, 0], [0, 2], [1, 0], [2, 1]], dtype=np.float32)
    other = {
        "edge": (np.concatenate([edges, [[0, 3], [3, 0]]], axis=1), features),
        "feature": (edges, features + np.array([[0], [0], [0], [1]], dtype=np.float32)),
        "swapped columns": (edges, features[:, ::-1]),
        "node": (edges, np.concatenate([features, np.zeros((1, 2), dtype=np.float32)])),
    }[what]
    hashes = graph_hashes(dataset_of([(edges, features), other]))
    assert hashes[0] != hashes[1]


def test_the_hash_depends_on_the_features_of_edges_and_not_on_their_order() -> None:
    plain = dataset_of(graphs(0))
    features = np.random.default_rng(3).integers(3, size=(plain.num_edges, 2)).astype(np.float32)
    names = {"edge_feature_names": ("b", "c"), "edge_feature_kinds": ("number", "number")}
    some, other = (plain.replaced(edge_features=one, **names) for one in (features, features[:, ::-1].copy()))
    assert not np.isin(graph_hashes(some), graph_hashes(other)).any()
    assert not np.isin(graph_hashes(some), graph_hashes(plain)).any()
    sparse_ones = plain.replaced(edge_features=sparse.csr_matrix(features), **names)
    np.testing.assert_array_equal(graph_hashes(some), graph_hashes(sparse_ones))
    joined, dropped = with_pool(some, other)
    assert (dropped, joined.num_pool) == (0, 8)
    with pytest.raises(UsageError, match="holds nothing new"):
        with_pool(some, some)


def test_a_pool_follows_the_dataset_without_labels() -> None:
    dataset, pool = dataset_of(graphs(0)), dataset_of(graphs(1, 5), "pool")
    joined, dropped = with_pool(dataset, pool)
    assert (dropped, joined.num_pool, joined.num_samples) == (0, 5, 13)
    np.testing.assert_array_equal(joined.labels, [*dataset.labels, *[-1] * 5])
    np.testing.assert_array_equal(graph_hashes(joined), [*graph_hashes(dataset), *graph_hashes(pool)])
    assert fingerprint(joined) != fingerprint(dataset)
    assert fingerprint(without_pool(joined)) == fingerprint(dataset)
    assert without_pool(dataset) is dataset


def test_an_official_split_keeps_its_unlabelled_graphs() -> None:
    masks = [np.isin(np.arange(8), part) for part in ([0, 1], [2, 3], [4, 5], [6, 7])]
    dataset = dataset_of(graphs(0)).replaced(official_splits=(Split(*masks),))
    split = with_pool(dataset, dataset_of(graphs(1, 5), "pool"))[0].official_split
    assert split is not None
    assert [part.tolist() for part in split.check(13).parts.values()] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_noise_in_edges_is_that_without_the_pool_and_official_splits_stay() -> None:
    masks = [np.isin(np.arange(8), part) for part in ([0, 1, 6, 7], [2, 3], [4, 5])]
    dataset = dataset_of(graphs(0)).replaced(official_splits=(Split(*masks),))
    joined, noise = with_pool(dataset, dataset_of(graphs(1, 5), "pool"))[0], NoiseSpec.parse("edge:0.4")
    split = Split(*masks)
    alone, noisy = (add_noise(one, split, noise, seed=3) for one in (dataset, joined))
    assert (noisy.num_pool, noisy.num_samples) == (5, 13) and fingerprint(alone) != fingerprint(dataset)
    assert fingerprint(without_pool(noisy)) == fingerprint(alone)
    assert fingerprint(noisy) != fingerprint(with_pool(alone, dataset_of(graphs(1, 5), "pool"))[0]), "the pool's edges are noisy, too"
    assert noisy.official_split is not None and noisy.official_split.test.tolist() == [4, 5]


def test_graphs_of_the_dataset_are_dropped_and_counted() -> None:
    many, others = graphs(0), graphs(1, 4)
    dataset = dataset_of(many)
    pool = dataset_of([others[0], renumbered(many[3], 2), others[1], many[7], others[2], others[3]], "pool")
    joined, dropped = with_pool(dataset, pool)
    assert (dropped, joined.num_pool) == (2, 4)
    np.testing.assert_array_equal(graph_hashes(joined)[8:], graph_hashes(dataset_of(others)))


def test_a_pool_of_nothing_new_is_refused() -> None:
    with pytest.raises(UsageError, match=r"The pool 'same' holds nothing new: 8 graphs, all of them in 'some'\. Choose another pool"):
        with_pool(dataset_of(graphs(0)), dataset_of(graphs(0), "same"))


def test_another_schema_is_refused_and_both_sides_are_shown() -> None:
    pool = dataset_of(graphs(1), "pool", feature_names=("x", "z"))
    with pytest.raises(
        DataError,
        match=r"The pool 'pool' has another schema than 'some'\. some expects 2 .*Missing: y;.*columns: x, y\..*x, z.*=dataset\.f",
    ):
        with_pool(dataset_of(graphs(0)), pool)


def test_labels_and_targets_of_a_pool_do_not_matter() -> None:
    dataset = dataset_of(graphs(0))
    pool = dataset_of(graphs(1), "pool")
    odd = Dataset.from_arrays(
        pool.edges, pool.features, np.zeros((8, 3)), node_offsets=pool.node_offsets, feature_names=("x", "y"), name="pool"
    )
    first, second = (with_pool(dataset, one)[0] for one in (pool, odd))
    assert fingerprint(first) == fingerprint(second)


def test_edge_features_are_joined_or_required() -> None:
    plain = dataset_of(graphs(0)), dataset_of(graphs(1), "pool")
    with_edges = [
        one.replaced(
            edge_features=np.arange(2 * one.num_edges, dtype=np.float32).reshape(-1, 2),
            edge_feature_names=("b", "c"),
            edge_feature_kinds=(),
        )
        for one in plain
    ]
    joined, _ = with_pool(*with_edges)
    np.testing.assert_array_equal(compact(joined.edge_features), np.concatenate([one.edge_features for one in with_edges]))
    assert with_pool(plain[0], with_edges[1])[0].edge_features is None
    with pytest.raises(DataError, match=r"another schema than 'some'.*edges of pool have none"):
        with_pool(with_edges[0], plain[1])


def test_node_tasks_have_no_pool() -> None:
    dataset = dataset_of(graphs(0))
    nodes = replace(dataset, task="node", labels=np.zeros(dataset.num_nodes, dtype=np.int64))
    with pytest.raises(UsageError, match=r"for graph tasks, and some is a dataset for the node task"):
        with_pool(nodes, dataset_of(graphs(1)))


@pytest.mark.parametrize("protocol", ["nested", "public", "holdout"])
def test_no_part_of_a_split_holds_a_graph_of_the_pool(protocol: str) -> None:
    mask = np.arange(8)
    split = Split(mask < 4, (mask >= 4) & (mask < 6), mask >= 6)
    dataset = dataset_of(graphs(0), split=split)
    joined, _ = with_pool(dataset, dataset_of(graphs(1), "pool"))
    for ours, theirs in zip(*(make_splits(one, protocol, seed=0, folds=2) for one in (joined, dataset)), strict=True):
        assert all(np.array_equal(ours.parts[part], theirs.parts[part]) for part in ("train", "val", "test"))


def test_a_dataset_has_one_pool() -> None:
    joined, _ = with_pool(dataset_of(graphs(0)), dataset_of(graphs(1)))
    with pytest.raises(UsageError, match="some has a pool of 8 graphs already"):
        with_pool(joined, dataset_of(graphs(2)))


def test_edge_features_that_no_student_takes_are_not_required() -> None:
    plain, pool = dataset_of(graphs(0)), dataset_of(graphs(1), "pool")
    edges = np.arange(plain.num_edges, dtype=np.float32).reshape(-1, 1)
    dataset = plain.replaced(edge_features=edges, edge_feature_names=("b",), edge_feature_kinds=())
    with pytest.raises(DataError, match="edges of pool have none"):
        joined_with_pool(dataset, pool)
    joined = joined_with_pool(dataset, pool, edge_features=False)
    assert joined.edge_features is None and joined.num_pool == 8


def test_graphs_that_differ_in_edge_features_that_no_student_takes_are_the_same() -> None:
    dataset, pool = differing_in_edge_features()
    assert with_pool(dataset, pool)[1] == 0
    with pytest.warns(UserWarning, match=r"4 of 7 graphs are in 'some', too"):
        assert joined_with_pool(dataset, pool, edge_features=False).num_pool == 3


def test_a_pool_of_one_graph_needs_a_task() -> None:
    one = Dataset.from_arrays([[0], [1]], np.eye(2, dtype=np.float32), None, name="p", feature_names=("x", "y"))
    with pytest.raises(UsageError, match=r"p is a dataset for the node task\. Leave the pool out, or make it with task='graph'"):
        with_pool(dataset_of(graphs(0)), one)
    single = Dataset.from_arrays([[0], [1]], np.eye(2, dtype=np.float32), None, name="p", feature_names=("x", "y"), task="graph")
    assert with_pool(dataset_of(graphs(0)), single)[0].num_pool == 1


@pytest.mark.parametrize(
    ("students", "options", "takes"), [("gcn,mlp", {}, True), ("mlp,bag", {}, False), ("gcn", {"edge_features": False}, False)]
)
def test_a_cohort_takes_edge_features_if_a_student_does(students: str, options: dict[str, bool], takes: bool) -> None:
    assert takes_edge_features(parse_config({"students": students, "student": options}).cohort) is takes


def test_runs_whose_students_take_no_edge_features_have_a_pool_of_their_own() -> None:
    dataset, pool = differing_in_edge_features()
    source = DataSource(in_memory={"some": dataset}, pool=pool)
    with_edges, without = (parse_config({"unlabelled": "pool", "students": students}) for students in ("gcn,mlp", "mlp,bag"))
    assert source.load(with_edges, "some").num_pool == 7
    with pytest.warns(UserWarning, match=r"4 of 7 graphs are in 'some', too"):
        assert source.load(without, "some").num_pool == 3


def test_a_pool_in_memory_stands_for_its_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.loading.read_pool", lambda name, **_: dataset_of(graphs(2, 3), name))
    source = DataSource(in_memory={"some": dataset_of(graphs(0))}, pool=dataset_of(graphs(1, 5), "pool"))
    assert [source.load(parse_config({"unlabelled": name}), "some").num_pool for name in ("pool", "other")] == [5, 3]


def test_edge_features_of_a_pool_stay_with_their_edges_where_graphs_are_left_out() -> None:
    many = graphs(0)
    dataset, pool = dataset_of(many), dataset_of([many[0], *graphs(1, 5)], "pool")
    # Of each edge the sum of its ends' features, so that a graph that is left out is the same in both.
    dataset, pool = (
        one.replaced(
            edge_features=one.features[one.edges[0], :1] + one.features[one.edges[1], :1],
            edge_feature_names=("b",),
            edge_feature_kinds=(),
        )
        for one in (dataset, pool)
    )
    joined, dropped = with_pool(dataset, pool)
    assert dropped == 1
    ends = joined.features[joined.edges[0], :1] + joined.features[joined.edges[1], :1]
    np.testing.assert_array_equal(compact(joined.edge_features), ends)


def test_zeros_that_are_stored_do_not_make_another_graph() -> None:
    dataset = dataset_of(graphs(0))
    features = np.array(dataset.features)
    stored = sparse.csr_matrix(features + 1)
    stored.data -= 1  # with explicit zeros
    assert stored.nnz > np.count_nonzero(features)
    np.testing.assert_array_equal(graph_hashes(dataset), graph_hashes(dataset.replaced(features=stored)))


def test_the_hash_looks_further_than_at_neighbours() -> None:
    def path(*ones: int) -> tuple[np.ndarray, np.ndarray]:
        first = np.arange(len(ones) - 1)
        ends = np.stack([first, first + 1])
        return np.concatenate([ends, ends[::-1]], axis=1), np.array([[one, 0] for one in ones], dtype=np.float32)

    # Nodes have the same features and the same neighbours in both; three steps away they differ.
    hashes = graph_hashes(dataset_of([path(1, 0, 0, 0, 0, 0, 0, 1, 0, 0), path(1, 0, 0, 0, 0, 0, 1, 0, 0, 0)]))
    assert hashes[0] != hashes[1]
