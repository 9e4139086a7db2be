"""The arrays of one part of a graph, as ``.npy`` files. Reading checks them, since a part may come from anyone.

Nodes have local indices in a part: first its own nodes, in the order of the store's indices, then the outside nodes whose edges lead to
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.files.numpy_files import write_npy
from dgl_mutual.data.values.arrays import FloatArray, IntArray

#: The arrays of a part, one file each: edges and node data.
EDGES, NODE_DATA = ("sources", "destinations", "outside"), ("feat", "in_degree", "out_degree")


@dataclass(frozen=True, eq=False)
class PartEdges:
    """The edges that lead to the nodes of one part.

    Attributes:
        sources: local indices of the source nodes, (|E|,).
        destinations: local indices of the destination nodes, which belong to the part, (|E|,).
        outside: the store's indices of the nodes outside of the part, (H,).
    """

    sources: IntArray
    destinations: IntArray
    outside: IntArray


def part_files(part: int) -> list[str]:
    """Paths of the files of one part, relative to the folder of the partition."""
    return [f"part{part}/{name}.npy" for name in (*EDGES, *NODE_DATA)]


def write_part(folder: Path, edges: PartEdges, node_data: Mapping[str, FloatArray]) -> None:
    """Write the files of one part.

    Args:
        folder: the folder of the part, which is created.
        node_data: float32, (|V|, F) ``feat`` and (|V|, 1) ``in_degree`` and ``out_degree`` of its own nodes.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir()
    for name, array in {**vars(edges), **node_data}.items():
        write_npy(folder / f"{name}.npy", array)
