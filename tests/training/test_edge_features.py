"""Edge features through training, prediction and saved students."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dgl
import numpy as np
import pytest
import torch

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.configuration.resolve import resolve, resolved_values
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.store.configuration import identity
from dgl_mutual.training.checkpoints import load_student
from tests.nn.edges import with_edges
from tests.training.conftest import Fit
from tests.training.small_data import Data, as_dgl

ALL = ("gcn", "gat", "gin", "sage")


@pytest.fixture
def bonded_data(graph_data: Data) -> Data:
    """Graphs whose class only the kind of their edges tells: rings of edges of one kind or the other."""
    dataset, split = graph_data
    sizes = np.full(dataset.num_graphs, 5)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    nodes = np.arange(offsets[-1])
    kinds = np.repeat(np.eye(2)[dataset.labels], 5, axis=0)
    data = Dataset.from_arrays(
        np.stack([nodes, nodes // 5 * 5 + (nodes + 1) % 5]),
        np.concatenate([np.ones((len(nodes), 1)), np.repeat(kinds.sum(1)[:, None], 1, axis=1)], axis=1),
        dataset.labels,
        edge_features=kinds,
        edge_feature_names=("bond=single", "bond=double"),
        edge_feature_kinds="indicator",
        node_offsets=offsets,
        symmetric=True,
    )
    return data, split


def test_students_learn_from_edges_and_not_without(bonded_data: Data, fit: Fit) -> None:
    on = fit(bonded_data, ALL, strategy="independent", epochs=30)
    off = fit(bonded_data, tuple(StudentOptions(architecture=kind, edge_features=False) for kind in ALL), strategy="independent", epochs=30)
    tests = {result: {member.member: member.test for member in result.members} for result in (on, off)}
    # gat weighs neighbours against each other, and here all edges of a graph are of one kind.
    assert all(tests[on][name] > 0.95 for name in ("gcn-0", "gin-2", "sage-3"))
    assert all(value < 0.8 for value in tests[off].values())
    assert on.dataset.num_edge_features == 2 and off.dataset.edge_features is None


def test_a_student_is_the_same_beside_peers_without_edge_features(bonded_data: Data, fit: Fit) -> None:
    dataset = bonded_data[0].replaced(feature_kinds=("number", "edge-sum"))
    alone = fit((dataset, bonded_data[1]), ("gin",), strategy="independent", epochs=3)
    beside = fit((dataset, bonded_data[1]), ("gin", StudentOptions(edge_features=False), "gatv2"), strategy="independent", epochs=3)
    np.testing.assert_array_equal(alone.predict(member="gin-0"), beside.predict(member="gin-0"))
    widths = [student.convolutions[0].input_weights[0].shape[0] for student in beside.cohort.members[:2]]
    assert widths == [1, 2]


@pytest.mark.parametrize("training", [{"edge_drop": 0.3}, {"feature_mask": 0.3}])
def test_views_change_what_students_with_edge_features_learn(bonded_data: Data, fit: Fit, training: dict[str, float]) -> None:
    found, plain = (fit(bonded_data, ALL, epochs=2, training=given) for given in (training, {}))
    assert np.isfinite(found.predict()).all()
    for student in plain.cohort.names:
        assert np.abs(found.predict(member=student) - plain.predict(member=student)).max() > 1e-4


def test_edge_features_in_other_units_teach_the_same(graph_data: Data, fit: Fit) -> None:
    """Students learn from edge features of one size, and take them as they are: to the bit, since the sizes are powers of two."""
    dataset, split = with_edges(graph_data[0]), graph_data[1]
    assert isinstance(dataset.edge_features, np.ndarray)
    other = dataset.replaced(edge_features=dataset.edge_features * np.float32(2.0**12))
    students = tuple(StudentOptions(architecture=kind, hidden=8, heads=2) for kind in ALL)
    results = [fit((data, split), students, epochs=3, dtype=torch.float64) for data in (dataset, other)]
    for name in results[0].cohort.names:
        np.testing.assert_allclose(results[0].predict(dataset, name), results[1].predict(other, name), rtol=1e-10)
    assert not np.allclose(results[0].predict(dataset, "gin-2"), results[0].predict(other, "gin-2"))


def test_sampled(node_data: Data, fit: Fit) -> None:
    """With all neighbours in one step a sampled training is that of the whole graph, without dropout."""
    data = with_edges(node_data[0]), node_data[1]
    members = tuple(StudentOptions(architecture=kind, dropout=0.0, hidden=8, heads=2) for kind in ALL)
    options = {"strategy": "independent", "epochs": 3, "dtype": torch.float64}
    whole = fit(data, members, **options)
    sampler = {"sampler": "neighbor", "fanout": (-1, -1), "batch_size": len(data[1].train)}
    sampled = fit(data, members, training=sampler, **options)
    for name in whole.cohort.names:
        np.testing.assert_allclose(sampled.predict(member=name), whole.predict(member=name), atol=1e-8)


def test_saved_students_know_their_edge_features(bonded_data: Data, fit: Fit, tmp_path: Path) -> None:
    dataset, split = bonded_data
    result = fit((dataset, split), ("gin", StudentOptions(edge_features=False), "gat"), epochs=2)
    result.save(tmp_path)
    for member in (*result.cohort.names, "ensemble"):
        model = load_student(tmp_path, member)
        np.testing.assert_array_equal(model.predict(dataset), result.predict(member=member))
        assert model.description.edge_feature_names == (() if member == "gcn-1" else ("bond=single", "bond=double"))
    model = load_student(tmp_path, "gin-0")
    single = dataset.replaced(
        edge_features=np.ones((dataset.num_edges, 1)), edge_feature_names=("bond=single",), edge_feature_kinds=("indicator",)
    )
    both = dataset.replaced(edge_features=np.tile([1.0, 0.0], (dataset.num_edges, 1)))
    np.testing.assert_array_equal(model.predict(single), model.predict(both))
    unseen = single.replaced(edge_feature_names=("bond=triple",))
    with pytest.raises(DataError, match=r"not expected: bond=triple.*model's columns: bond=single, bond=double"):
        model.predict(unseen)
    with pytest.raises(DataError, match="the edges of graph have none"):
        model.predict(dataset.without_edge_features())
    assert np.isfinite(load_student(tmp_path, "gcn-1").predict(dataset.without_edge_features())).all()
    np.testing.assert_array_equal(result.predict(single, member="gin-0"), model.predict(single))
    np.testing.assert_array_equal(result.embeddings(single, "gin-0"), result.embeddings(both, "gin-0"))
    for wrong in (unseen, dataset.without_edge_features()):
        with pytest.raises(DataError, match=r"not expected: bond=triple|the edges of graph have none"):
            result.predict(wrong)
    assert "2 features and 2 edge features" in repr(result.cohort.members[0])


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_dgl_graph_may_have_features_of_half_precision(precision: torch.dtype, bonded_data: Data, fit: Fit) -> None:
    dataset, split = bonded_data
    result = fit((dataset, split), ("gin", "gat"), epochs=2)
    half, single = as_dgl(dataset), as_dgl(dataset)
    for rounded, to in ((half, precision), (single, torch.float32)):
        rounded.ndata["feat"] = torch.as_tensor(dataset.features).to(precision).to(to)
        rounded.edata["feat"] = torch.as_tensor(dataset.edge_features).to(precision).to(to)
    np.testing.assert_array_equal(result.predict(half, member="gin-0"), result.predict(single, member="gin-0"))


def test_predictions_for_a_dgl_graph(bonded_data: Data, fit: Fit, tmp_path: Path) -> None:
    dataset, split = bonded_data
    result = fit((dataset, split), ("gin", "gcn"), epochs=2)
    graph = as_dgl(dataset.without_edge_features())
    with pytest.raises(UsageError, match="edges have none"):
        result.predict(graph)
    graph.edata["feat"] = torch.as_tensor(dataset.edge_features)
    np.testing.assert_allclose(result.predict(graph), result.predict(), atol=1e-6)
    result.save(tmp_path)
    np.testing.assert_allclose(load_student(tmp_path).predict(graph), result.predict(), atol=1e-6)
    for wrong, message in ((torch.nan, "edge features 'feat'.*finite"), (1j, "edge features 'feat': expected numbers, found .* complex")):
        graph.edata["feat"] = torch.as_tensor(dataset.edge_features) * wrong
        for function in (result.predict, lambda data: result.embeddings(data, "gin-0")):
            with pytest.raises(DataError, match=message):
                function(graph)


def test_graphs_without_any_edge_need_no_edge_features(bonded_data: Data, fit: Fit) -> None:
    """Alone as beside graphs with edges, and in a list as by itself."""
    dataset, _ = bonded_data
    result = fit(bonded_data, ("gin", "gcn"), epochs=2)
    with_edges, alone = as_dgl(dataset), dgl.graph(([], []), num_nodes=3)
    alone.ndata["feat"] = torch.ones(3, dataset.num_features)
    expected = result.predict([with_edges, alone])[-1:]
    for data in (alone, [alone]):
        np.testing.assert_allclose(result.predict(data), expected, atol=1e-6)


def test_fit_takes_a_dgl_graph_with_edge_features() -> None:
    graph = dgl.rand_graph(12, 40)
    graph.ndata.update(feat=torch.randn(12, 3), label=torch.arange(12) % 2)
    graph.edata["feat"] = torch.randn(40, 2)
    split = Split(np.arange(6), np.arange(6, 9), np.arange(9, 12))
    result = dgl_mutual.fit(graph, students="gcn,gin", training={"epochs": 1}, split=split)
    assert [student.edge_features for student in result.cohort.members] == [2, 2]
    off = dgl_mutual.fit(graph, students="gcn,gin", training={"epochs": 1}, split=split, student={"edge_features": False})
    assert off.dataset.edge_features is None


def test_the_fingerprint_is_that_of_what_students_take_and_either_is_that_of_the_dataset(bonded_data: Data) -> None:
    dataset = bonded_data[0]
    bare = dataset.without_edge_features()
    assert resolve(parse_config({}), dataset).fingerprint == fingerprint(dataset) != fingerprint(bare)
    off, old = resolve(parse_config({"student": {"edge_features": False}}), dataset), resolve(parse_config({}), bare)
    assert off.fingerprint == old.fingerprint == fingerprint(bare)
    assert identity(resolved_values(off)) == identity(resolved_values(old))
    for made_with, student, wanted in ((bare, {}, True), (bare, {"edge_features": True}, True), (dataset, {"edge_features": False}, False)):
        found = resolve(parse_config({"fingerprint": fingerprint(made_with), "student": student}), dataset)
        assert [one.edge_features for one in found.students] == [wanted] * 4
    with pytest.raises(DataError, match="fingerprint"):
        resolve(parse_config({"fingerprint": "0123456789ab"}), dataset)


def test_a_run_has_the_data_that_its_students_take(bonded_data: Data) -> None:
    on, off = (prepare(parse_config({"dataset": "digits", "student": {"edge_features": use}}), bonded_data[0]) for use in (None, False))
    assert on.dataset is bonded_data[0] and off.dataset.edge_features is None


class Edged(torch.nn.Module):
    """Of each graph the mean over its nodes of what a node, and what the edges that end in it, say."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.nodes, self.edges = torch.nn.Linear(in_features, num_outputs), torch.nn.Linear(2, num_outputs)

    def forward(self, graph: dgl.DGLGraph, feat: torch.Tensor) -> torch.Tensor:
        graph.edata["said"] = self.edges(graph.edata["feat"])
        graph.update_all(dgl.function.copy_e("said", "m"), dgl.function.sum("m", "said"))
        graph.ndata["h"] = self.nodes(feat) + graph.ndata["said"]
        states: torch.Tensor = dgl.mean_nodes(graph, "h")
        return states


def test_a_custom_student_finds_edge_features_in_the_graph(bonded_data: Data, fit: Fit, tmp_path: Path) -> None:
    dataset, _ = bonded_data
    own = StudentOptions(architecture=Edged, edge_features=True)
    options = {"strategy": "independent", "epochs": 60, "training": {"scale_inputs": True, "learning_rate": 0.1}}
    result = fit(bonded_data, (own, "gin"), **options)
    assert result.members[0].test > 0.95 and result.cohort.members[0].edge_features == 2
    student = result.cohort.members[0].module  # type: ignore[union-attr]  # one's own
    assert isinstance(student, Edged)
    features, edge_features = (torch.as_tensor(np.asarray(part)) for part in (dataset.features, dataset.edge_features))
    scale = result.cohort.members[0].edge_scale  # type: ignore[union-attr]
    sums = torch.zeros(dataset.num_nodes, 2).index_add_(0, torch.as_tensor(dataset.edges[1]), student.edges(edge_features * scale))
    states = student.nodes(features * result.cohort.members[0].input_scale) + sums  # type: ignore[union-attr]
    expected = torch.stack([part.mean(0) for part in states.split(5)]).softmax(1)
    np.testing.assert_allclose(result.predict(member="Edged-0"), expected.detach(), atol=1e-5)
    result.save(tmp_path)
    model = load_student(tmp_path, "Edged-0", trust=True)
    assert model.description.edge_feature_names == ("bond=single", "bond=double")
    np.testing.assert_array_equal(model.predict(dataset), result.predict(member="Edged-0"))
    with pytest.raises(DataError, match="the edges of graph have none"):
        model.predict(dataset.without_edge_features())


def test_edge_features_of_a_custom_student_must_be_there(graph_data: Data, fit: Fit) -> None:
    with pytest.raises(UsageError, match="'Edged' has edge_features on, and the dataset has no edge features"):
        fit(graph_data, (StudentOptions(architecture=Edged, edge_features=True),), strategy="independent")
    assert "edge_features" not in StudentOptions(architecture=Edged).model_dump()


def test_added_members_take_edge_features_only_beside_students_that_do(bonded_data: Data, fit: Fit) -> None:
    """As in `dgl-mutual run`, which then reads the dataset without them."""
    dataset, split = bonded_data
    for taken in (True, False):
        students = tuple(StudentOptions(architecture=kind, edge_features=taken) for kind in ("gcn", "gin"))
        result = fit((dataset, split), students, epochs=1, strategy="kd")
        assert [member.edge_features for member in result.cohort.members] == [2 * taken] * 3
    with pytest.raises(UsageError, match="The member 'teacher' of the strategy 'kd' takes edge features, and no student does"):
        fit((dataset, split), students, strategy="kd", strategy_options={"teacher": {"architecture": "gin", "edge_features": True}})


@pytest.mark.parametrize("noise", [None, "feature:0.1", "edge:0.5"])
def test_noise_in_edges_has_their_features_also_where_no_student_takes_them(noise: str | None, bonded_data: Data) -> None:
    """Node features may be sums of them."""
    plan = prepare(parse_config({"student": {"edge_features": False}, "noise": noise}), bonded_data[0], in_memory=True)
    assert (plan.dataset.edge_features is not None) == (noise == "edge:0.5")


def test_only_a_student_without_edge_features_is_told_how_to_get_them(bonded_data: Data, fit: Fit) -> None:
    class Asks(torch.nn.Module):
        def __init__(self, in_features: int, num_outputs: int, side: str) -> None:
            super().__init__()
            self.layer, self.side = torch.nn.Linear(in_features, num_outputs), side

        def forward(self, graph: Any, feat: torch.Tensor) -> Any:
            graph.ndata["h"] = self.layer(feat) + getattr(graph, self.side)["feat"].sum()
            return dgl.mean_nodes(graph, "h")

    def asks(side: str, edge_features: bool | None = None) -> StudentOptions:
        return StudentOptions(architecture=Asks, options={"side": side}, edge_features=edge_features)

    with pytest.raises(UsageError, match=r"asks the graph for 'feat'.*{'architecture': Asks, 'edge_features': True}\.$"):
        fit(bonded_data, ("gcn", asks("edata")), epochs=1)
    fit(bonded_data, ("gcn", asks("edata", True)), epochs=1)
    with pytest.raises(UsageError, match=r"asks the graph for 'feat'.*Node features are the argument feat\.$"):
        fit(bonded_data, ("gcn", asks("ndata", True)), epochs=1)
