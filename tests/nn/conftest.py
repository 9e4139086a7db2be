"""Small random graphs as the package's datasets, and as DGL graphs for the comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.target import Target
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn import kernels

MakeDataset = Callable[..., Dataset]


@pytest.fixture(params=kernels.IMPLEMENTATIONS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every implementation of the sparse kernels, one after the other, whatever the device would choose."""
    if request.param == "torch_csr" and not torch.backends.mkl.is_available():
        pytest.skip("this torch comes without MKL")
    monkeypatch.setattr(kernels, "choose", lambda device_type: request.param)
    return str(request.param)


@pytest.fixture
def make_dataset() -> MakeDataset:
    def make(
        sizes: tuple[int, ...] = (12,), *, num_features: int = 5, edges_per_node: float = 2.0, directed: bool = False, sparse_: bool = False
    ) -> Dataset:
        """Random graphs; the last node of each graph is isolated and has no features."""
        random = np.random.default_rng(len(sizes) + sum(sizes))
        node_offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        ends = [
            random.integers(0, max(size - 1, 1), size=(2, round(edges_per_node * size))) + start
            for size, start in zip(sizes, node_offsets[:-1], strict=True)
            if size > 0
        ]
        source, destination = np.concatenate(ends, axis=1)
        num_nodes = int(node_offsets[-1])
        features = random.normal(size=(num_nodes, num_features)) * (random.random((num_nodes, num_features)) < 0.6)
        features[[end - 1 for end, size in zip(node_offsets[1:], sizes, strict=True) if size > 0]] = 0
        dense = features.astype(np.float32)
        return Dataset(
            name="random",
            task="graph" if len(sizes) > 1 else "node",
            edges=canonical_edges(source, destination, num_nodes, symmetric=not directed),
            features=sparse.csr_matrix(dense) if sparse_ else dense,
            labels=random.integers(0, 3, size=len(sizes) if len(sizes) > 1 else num_nodes),
            node_offsets=node_offsets,
            target=Target("single-label", ("a", "b", "c"), "accuracy"),
            feature_names=tuple(f"x{column}" for column in range(num_features)),
        )

    return make


@pytest.fixture
def as_dgl() -> Callable[[Dataset], dgl.DGLGraph]:
    def convert(dataset: Dataset) -> dgl.DGLGraph:
        """A dataset's graphs built one by one from their edge lists and put together by `dgl.batch`."""
        features = dataset.features if isinstance(dataset.features, np.ndarray) else dataset.features.toarray()
        graphs = []
        for start, end in zip(dataset.node_offsets[:-1], dataset.node_offsets[1:], strict=True):
            inside = (dataset.edges[1] >= start) & (dataset.edges[1] < end)
            source, destination = torch.as_tensor(dataset.edges[:, inside] - start)
            graph = dgl.graph((source, destination), num_nodes=int(end - start))
            graph.ndata["feat"] = torch.as_tensor(features[start:end], dtype=torch.float64)
            graphs.append(graph)
        return dgl.batch(graphs)

    return convert
