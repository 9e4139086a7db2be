"""The arrays of one part of a graph, as ``.npy`` files. They are checked when they are read: a part may come from anyone.

Nodes have local numbers in a part: first its own nodes, in the order of the store's numbers, then the nodes outside of it from which edges
lead to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.arrays import FloatArray, IntArray
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.features import features_fault
from dgl_mutual.data.numpy_files import read_npy, write_npy
from dgl_mutual.utils.wording import counted

#: Arrays of a part, each a file: edges, and what the store keeps for each node.
_EDGES, _NODE_DATA = ("sources", "destinations", "outside"), ("feat", "in_degree", "out_degree")


@dataclass(frozen=True, eq=False)
class PartEdges:
    """The edges that lead to the nodes of one part.

    Attributes:
        sources: (|E|,): local number of the node from which each comes.
        destinations: (|E|,): local number of the node to which each leads, one of the part's own.
        outside: (H,): the store's numbers of the nodes outside of the part.
    """

    sources: IntArray
    destinations: IntArray
    outside: IntArray


def part_files(part: int) -> list[str]:
    """The files of one part, by their paths in the folder of the partition."""
    return [f"part{part}/{name}.npy" for name in (*_EDGES, *_NODE_DATA)]


def write_part(folder: Path, edges: PartEdges, node_data: Mapping[str, FloatArray]) -> None:
    """Write the files of one part.

    Args:
        folder: of the part; it is made.
        node_data: float32, (|V|, F) ``feat`` and (|V|, 1) ``in_degree`` and ``out_degree`` of its own nodes.

    Raises:
        OSError: the disk does not take them.
    """
    folder.mkdir()
    for name, array in {**vars(edges), **node_data}.items():
        write_npy(folder / f"{name}.npy", array)


def read_edges(folder: Path, nodes: range, num_edges: int, num_nodes: int, faults: Faults) -> PartEdges | None:
    """The edges of one part; None after recording why not.

    Args:
        folder: of the part.
        nodes: the store's numbers of its nodes.
        num_edges: how many lead to them.
        num_nodes: of the whole graph.
    """
    sources, destinations, outside = (_read(folder / f"{name}.npy", np.int64, 1, faults) for name in _EDGES)
    if sources is None or destinations is None or outside is None:
        return None
    for name, array, stop in (
        ("sources", sources, len(nodes) + len(outside)),
        ("destinations", destinations, len(nodes)),
        ("outside", outside, num_nodes),
    ):
        if name != "outside" and len(array) != num_edges:
            faults.add(folder / f"{name}.npy", f"expected a number for each of {num_edges} edges, found {len(array)}")
        elif len(array) and not (array.min() >= 0 and array.max() < stop):
            faults.add(folder / f"{name}.npy", f"expected numbers of nodes, 0 ... {stop - 1}, found {array.min()} ... {array.max()}")
    if np.any((outside >= nodes.start) & (outside < nodes.stop)):
        faults.add(folder / "outside.npy", f"expected nodes outside of the part, found some of its own, {nodes.start} ... {nodes.stop - 1}")
    return None if faults.found else PartEdges(sources, destinations, outside)


def read_node_data(folder: Path, num_nodes: int, num_features: int, faults: Faults) -> dict[str, FloatArray]:
    """What the store keeps for the nodes of one part, see `write_part`; empty after recording why not.

    Args:
        folder: of the part.
        num_nodes: that the part has.
    """
    found = {}
    for name, columns in zip(_NODE_DATA, (num_features, 1, 1), strict=True):
        file = folder / f"{name}.npy"
        array = _read(file, np.float32, 2, faults)
        if array is None:
            continue
        if array.shape != (num_nodes, columns):
            faults.add(file, f"expected shape {(num_nodes, columns)}, found {array.shape}")
        elif fault := features_fault(array, num_nodes):
            faults.add(file, fault)
        found[name] = array
    return {} if faults.found else found


def _read(file: Path, dtype: type[np.generic], dimensions: int, faults: Faults) -> npt.NDArray[Any] | None:
    """An array of this type, C-contiguous."""
    array = read_npy(file, faults)
    if array is None:
        return None
    if array.dtype != dtype or array.ndim != dimensions:
        faults.add(
            file, f"expected {np.dtype(dtype)} in {counted(dimensions, 'dimension')}, found {array.dtype} of shape {str(array.shape)[:60]}"
        )
        return None
    return np.ascontiguousarray(array)
