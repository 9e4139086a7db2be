"""Positional features of all students."""

from __future__ import annotations

from pathlib import Path

import dgl
import numpy as np
import pytest
import torch

from dgl_mutual.data.positions import with_positions
from dgl_mutual.errors import UsageError
from dgl_mutual.training.checkpoints import load_student
from tests.training.conftest import Fit
from tests.training.small_data import Data

ALL = ("gcn", "gin", "gatv2")


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("scaled", [True, False])
def test_students_learn_as_from_a_dataset_with_these_columns(task: str, scaled: bool, fit: Fit, node_data: Data, graph_data: Data) -> None:
    dataset, split = node_data if task == "node" else graph_data
    ours = fit((dataset, split), ALL, training={"positions": 4, "scale_inputs": scaled})
    plain_ = fit((with_positions(dataset, 4), split), ALL, training={"scale_inputs": scaled})
    assert ours.dataset.num_features == dataset.num_features
    for member in (*ours.cohort.names, "ensemble"):
        np.testing.assert_array_equal(ours.predict(member=member), plain_.predict(member=member))
    off = fit((dataset, split), ALL, training={"scale_inputs": scaled})
    assert not np.array_equal(off.predict(), ours.predict())


def test_saved_students_compute_them(fit: Fit, graph_data: Data, tmp_path: Path) -> None:
    dataset = graph_data[0]
    result = fit(graph_data, ALL, training={"positions": 4})
    result.save(tmp_path)
    graph = dgl.graph(tuple(torch.as_tensor(ends) for ends in dataset.edges), num_nodes=dataset.num_nodes)
    graph.ndata["feat"] = torch.as_tensor(dataset.features)
    for member in (*result.cohort.names, "ensemble"):
        model = load_student(tmp_path, member)
        np.testing.assert_array_equal(model.predict(dataset), result.predict(member=member))
        for call in (lambda: model.predict(graph), lambda: model(graph, graph.ndata["feat"]), lambda: result.predict(graph)):  # noqa: B023  # called at once
            with pytest.raises(UsageError, match=r"positional features, .*predict\(Dataset\.from_dgl\(graph\)\)"):
                call()
