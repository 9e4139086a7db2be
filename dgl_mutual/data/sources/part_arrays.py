"""The arrays of one part of a graph, as ``.npy`` files. They are checked when they are read: a part may come from anyone.

Nodes have local numbers in a part: first its own nodes, in the order of the store's numbers, then the nodes outside of it from which edges
lead to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.files.numpy_files import write_npy
from dgl_mutual.data.values.arrays import FloatArray, IntArray

#: Arrays of a part, each a file: edges, and what the store keeps for each node.
EDGES, NODE_DATA = ("sources", "destinations", "outside"), ("feat", "in_degree", "out_degree")


@dataclass(frozen=True, eq=False)
class PartEdges:
    """The edges that lead to the nodes of one part.

    Attributes:
        sources: (|E|,): local index of the node from which each comes.
        destinations: (|E|,): local index of the node to which each leads, one of the part's own.
        outside: (H,): the store's indices of the nodes outside of the part.
    """

    sources: IntArray
    destinations: IntArray
    outside: IntArray


def part_files(part: int) -> list[str]:
    """The files of one part, by their paths in the folder of the partition."""
    return [f"part{part}/{name}.npy" for name in (*EDGES, *NODE_DATA)]


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
