"""What custom code changes in place reaches no dataset, and a dataset does not change with the arrays that it was made of."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base.exchange import Exchange
from tests.small_graph import EDGES, FEATURES, LABELS, SPLIT, N, fit, graph, strategy


@pytest.mark.parametrize("name", ["samples", "labelled", "training"])
def test_a_strategy_that_changes_sample_numbers_is_refused(name: str) -> None:
    def terms(self: dm.Strategy, step: Any) -> Any:
        getattr(step, name).zero_()
        return {"a": self.supervised(step)}

    split = dm.Split(*SPLIT.parts.values())
    with pytest.raises(UsageError, match=rf"changes step\.(\w+ and step\.)?{name}\b.*, which others read"):
        fit(strategy=strategy(terms), split=split)
    np.testing.assert_array_equal(split.train, SPLIT.train)


CHANGES = {
    "in place": (lambda features: features.zero_(), r"changes step\.batch\.{name}, which others read, too\. Use"),
    "past the count of changes": (lambda features: features.data.mul_(2), None),
    "as an array": (lambda features: np.negative(features.numpy(), out=features.numpy()), None),
    "and raises": (lambda features: features.zero_() / "x", "TypeError"),
}


@pytest.mark.parametrize("name", ["features", "edge_features"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_dataset_stays_where_a_strategy_changes_features(change: str, name: str) -> None:
    """torch counts changes in place, which are refused; what goes past that count is of this training alone."""
    change_of, message = CHANGES[change]

    def terms(self: dm.Strategy, step: Any) -> Any:
        change_of(getattr(step.batch, name))
        return {"a": self.supervised(step)}

    data = dm.Dataset.from_arrays(EDGES, FEATURES.copy(), LABELS, edge_features=np.random.default_rng(2).random((EDGES.shape[1], 2)))
    given = getattr(data, name).copy()
    refused = nullcontext() if message is None else pytest.raises(UsageError, match=message.format(name=name))
    with refused:
        fit([{"architecture": "gat", "edge_features": True}, "sage"], strategy(terms), data)
    np.testing.assert_array_equal(getattr(data, name), given)


def test_the_dataset_stays_where_a_callback_changes_it() -> None:
    class Changes(dm.Callback):
        def on_step_end(self, state: dm.TrainingState) -> None:
            state.step.batch.features.zero_()
            for name in given:
                getattr(state.dataset, name)[:] = 0

    data = dm.Dataset.from_arrays(EDGES, FEATURES, LABELS, edge_features=np.ones((EDGES.shape[1], 2), dtype=np.float32))
    given = {name: getattr(data, name).copy() for name in ("features", "edge_features", "labels")}
    fit([{"architecture": "gat", "edge_features": True}, "sage"], data=data, split=SPLIT, callbacks=[Changes()])
    for name, before in given.items():
        np.testing.assert_array_equal(getattr(data, name), before)


def test_a_change_of_tensors_that_share_memory_names_both() -> None:
    def terms(self: dm.Strategy, step: Any) -> Any:
        step.targets.mul_(2)
        return {"a": self.supervised(step)}

    message = r"changes step\.logits and step\.targets, which others read, too \(they share memory here\)"
    with pytest.raises(UsageError, match=message):
        fit(strategy=strategy(terms, exchange=lambda self: Exchange("train")))


class InPlace(nn.Linear):
    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        return super().forward(feat.relu_())


def test_a_student_may_change_its_features_in_place() -> None:
    """The dataset, the arrays that it was made of, peers and graphs that it predicts see nothing of it."""

    class Apart(nn.Linear):
        def forward(self, graph: Any, feat: Tensor) -> Tensor:
            return super().forward(feat.relu())

    found = []
    for student in (InPlace, Apart):
        x, of_torch = FEATURES.copy(), graph(feat=FEATURES.copy())
        data = dm.Dataset.from_arrays(EDGES, x, LABELS)
        results = [fit([student, "gcn"], data=one, split=SPLIT) for one in (data, of_torch)]
        found.append([result.predict(member=name) for result in results for name in result.cohort.names])
        new = graph(feat=FEATURES.copy())
        results[0].predict(new)
        for seen in (x, data.features, of_torch.ndata["feat"].numpy(), new.ndata["feat"].numpy()):
            np.testing.assert_array_equal(seen, FEATURES)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("as_given", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_a_dataset_does_not_change_with_the_arrays_that_it_was_made_of(as_given: Any) -> None:
    edges = dm.Dataset.from_arrays(EDGES, FEATURES).edges.copy()
    parts = [edges, FEATURES.copy(), LABELS.copy(), np.array([0, N])]
    given = [as_given(part) for part in parts]
    data = dm.Dataset.from_arrays(*given[:3], node_offsets=given[3], task="node")
    kept = [part.copy() for part in (data.edges, data.features, data.labels, data.node_offsets)]
    for part in given:
        part[:] = 0
    for here, before in zip((data.edges, data.features, data.labels, data.node_offsets), kept, strict=True):
        np.testing.assert_array_equal(here, before)


def test_a_dataset_of_graph_objects_does_not_change_with_them() -> None:
    made = graph(feat=FEATURES.copy(), label=LABELS.copy())
    data = dm.Dataset.from_dgl(made)
    made.ndata["feat"].zero_()
    made.ndata["label"].zero_()
    np.testing.assert_array_equal(data.features, FEATURES)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_a_sparse_matrix_is_left_as_it_was_given() -> None:
    """Duplicates are summed, zeros left out, and rows sorted in a copy."""
    columns = np.tile([70, 3, 3, 9], N)
    given = sparse.csr_matrix((np.tile([1.0, 2, 3, 0], N).astype(np.float32), columns, np.arange(N + 1) * 4), shape=(N, 500))
    data = dm.Dataset.from_arrays(EDGES, given, LABELS)
    assert isinstance(data.features, sparse.csr_matrix)
    assert data.features[0, [3, 9, 70]].toarray().tolist() == [[5.0, 0.0, 1.0]]
    np.testing.assert_array_equal(given.indices, columns)
    given.data[:] = 0
    assert data.features.sum() == 6 * N


def test_a_split_does_not_change_with_the_arrays_that_it_was_made_of() -> None:
    parts = [np.arange(3), np.arange(3, 6), np.arange(6, 9)]
    split = dm.Split(*parts)
    for part in parts:
        part[:] = 0
    assert [part.tolist() for part in split.parts.values()] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
