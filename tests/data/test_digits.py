from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from dgl_mutual.data import load_dataset
from dgl_mutual.data.sources.digits import NUM_NEIGHBOURS


def test_node_task_is_a_neighbour_graph() -> None:
    dataset = load_dataset("digits")
    pixels = load_digits().data
    assert dataset.task == "node" and dataset.num_nodes == 1797
    np.testing.assert_allclose(dataset.features, pixels / 16)
    distances, _ = NearestNeighbors(n_neighbors=NUM_NEIGHBOURS + 1).fit(pixels).kneighbors(pixels)
    source, destination = dataset.edges
    lengths = np.linalg.norm(pixels[source] - pixels[destination], axis=1)
    reach = distances[:, -1] + 1e-9
    assert np.all((lengths <= reach[source]) | (lengths <= reach[destination]))
    closer = {(int(i), int(j)) for i, j in zip(source, destination, strict=True)}
    assert all((j, i) in closer for i, j in closer)
    assert np.bincount(destination).min() >= NUM_NEIGHBOURS


def test_graph_task_is_the_inked_pixels() -> None:
    dataset = load_dataset("DIGITS", "graph")
    images = load_digits().images
    assert dataset.num_graphs == 1797 and dataset.labels.tolist() == load_digits().target.tolist()
    first = slice(*dataset.node_offsets[[5, 6]])
    rows, columns = np.nonzero(images[5])
    np.testing.assert_allclose(dataset.features[first], np.stack([images[5][rows, columns] / 16, rows / 7, columns / 7], axis=1), rtol=1e-6)
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) == 1
    edges = dataset.edges[:, slice(*dataset.edge_offsets[[5, 6]])] - dataset.node_offsets[5]
    expected = np.zeros_like(near)
    expected[edges[0], edges[1]] = True
    np.testing.assert_array_equal(expected, near)


def test_neighbours_are_those_of_a_stable_sort() -> None:
    """Ties in distance are broken by the order of the images."""
    pixels = load_digits().data.astype(np.int64)
    squares = (pixels**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * pixels @ pixels.T
    np.fill_diagonal(distances, distances.max() + 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    pairs = {(int(other), node) for node, others in enumerate(nearest) for other in others}
    edges = {(int(i), int(j)) for i, j in load_dataset("digits").edges.T}
    assert edges == pairs | {(j, i) for i, j in pairs}
