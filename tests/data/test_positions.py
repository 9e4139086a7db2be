from __future__ import annotations

import dgl
import numpy as np
import pytest

from dgl_mutual.data.positions import random_walk_positions, with_positions
from tests.strategies.cases import make_dataset


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_positions_equal_dgls(task, steps):
    dataset = make_dataset(task, "single-label")
    graph = dgl.graph(tuple(dataset.edges), num_nodes=dataset.num_nodes)
    np.testing.assert_allclose(random_walk_positions(dataset, steps), dgl.random_walk_pe(graph, steps).numpy(), atol=1e-6)


def test_they_become_named_columns_after_the_features():
    dataset = make_dataset("node", "single-label")
    extended = with_positions(dataset, 3)
    assert extended.feature_names == (*dataset.feature_names, "return-after-1", "return-after-2", "return-after-3")
    np.testing.assert_array_equal(extended.features, np.concatenate([dataset.features, random_walk_positions(dataset, 3)], axis=1))
    assert with_positions(dataset, 0) is dataset
