"""Reference to a graph that is partitioned over several machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dgl_mutual.data.values.arrays import IntArray


@dataclass(frozen=True, eq=False)
class GraphStore:
    """A partitioned graph and the index of its nodes.

    Attributes:
        graph: its `dgl.distributed.DistGraph`, with node data ``feat``, ``in_degree`` and ``out_degree``.
        ids: its index of each node, (|V|,).
        fingerprint: fingerprint of the dataset that was partitioned.
    """

    graph: Any
    ids: IntArray
    fingerprint: str
