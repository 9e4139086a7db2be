"""A graph partitioned over machines, none of which could hold it: DGL's distributed graph store serves edges and node features.

Every trainer keeps only small data of the whole graph: labels, the official split, and the store's index of each node.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.numpy_files import read_npy, read_npz
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.several_targets import target_names
from dgl_mutual.data.sources.download import file_sha256
from dgl_mutual.data.sources.part_arrays import EDGES, NODE_DATA, PartEdges, part_files, write_part
from dgl_mutual.data.values.arrays import FeatureKind, FloatArray, IntArray
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.features import fault_of_features
from dgl_mutual.data.values.split import Split, as_splits
from dgl_mutual.data.values.target import Target
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, UsageError, listed
from dgl_mutual.options import plain_message
from dgl_mutual.utils.files import read_bytes, refuse_taken, replacing
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

_MANIFEST, _NODES = "partition.json", "nodes.npz"
_PARTS = ("train", "val", "test", "unlabelled")
#: The most bytes of partition.json, most of which are names of features.
_MAX_MANIFEST = 2**28
#: Number of nodes or edges of a part. Their sum fits into 64 bits for as many parts as partition.json has room for.
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**35)]


class _Manifest(BaseModel):
    """partition.json."""

    format: Literal[1]
    name: str
    fingerprint: str
    dgl: str
    #: The numbers of nodes of each part, and of edges that lead to them.
    nodes: Annotated[list[Annotated[_Count, Field(ge=1)]], Field(min_length=1)]
    edges: list[_Count]
    target: Target
    evaluator: str | None
    feature_names: list[str]
    feature_kinds: list[FeatureKind]
    #: The secret that servers and trainers prove to have.
    key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    #: Hashes of all other files of the folder.
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class Partition:
    """A folder with the parts of one dataset.

    Attributes:
        folder: the folder of the parts, the manifest and the labels.
        nodes: for each part, the store's indices of its nodes.
        edges: for each part, the store's indices of the edges that lead to its nodes.
        ids: the store's index of each node, (|V|,).
        dataset: labels, target and split of the whole graph, under the dataset's name. It has no edges, and zeros for features.
        fingerprint: fingerprint of the dataset that was partitioned.
        key: a secret by which servers and trainers of this partition authenticate each other.
        sha256: hashes of its files, by their paths in the folder.
    """

    folder: Path
    nodes: tuple[range, ...]
    edges: tuple[range, ...]
    ids: IntArray
    dataset: Dataset
    fingerprint: str
    key: bytes
    sha256: dict[str, str]

    @property
    def num_parts(self) -> int:
        return len(self.nodes)

    def check_part(self, part: int) -> None:
        """Check that the files of one part are those that were written.

        Raises:
            DataError: one is missing or damaged.
        """
        for name in part_files(part):
            file = self.folder / name
            if not file.is_file():
                raise DataError(f"{str(self.folder)!r} has no {name}. Copy part{part} here from where the partition was made.")
            if fault := _fault_of(file, self.sha256[name]):
                raise DataError(f"{str(file)!r} {fault}. Copy part{part} again from where the partition was made.")

    def read_edges(self, part: int) -> PartEdges:
        """Read the edges of one part.

        Raises:
            DataError: a file of the part is missing, or not in the form that `write_partition` writes.
        """
        faults = Faults()
        folder = self.folder / f"part{part}"
        nodes, num_edges = self.nodes[part], len(self.edges[part])
        arrays = {name: self._read(part, name, 1, np.int64) for name in EDGES}
        num_ends = len(nodes) + len(arrays["outside"])
        for (name, array), stop in zip(arrays.items(), (num_ends, len(nodes), self.dataset.num_nodes), strict=True):
            if name != "outside" and len(array) != num_edges:
                faults.add(folder / f"{name}.npy", f"expected a number for each of {num_edges} edges, found {len(array)}")
            elif len(array) and not (array.min() >= 0 and array.max() < stop):
                faults.add(folder / f"{name}.npy", f"expected indices of nodes, 0 ... {stop - 1}, found {array.min()} ... {array.max()}")
        outside = arrays["outside"]
        if np.any((outside >= nodes.start) & (outside < nodes.stop)):
            own = f"{nodes.start} ... {nodes.stop - 1}"
            faults.add(folder / "outside.npy", f"expected nodes outside of the part, found some of its own, {own}")
        _check(self.folder, faults)
        return PartEdges(**arrays)

    def read_node_data(self, part: int) -> dict[str, FloatArray]:
        """Read the node data of one part, float32: ``feat`` (|V|, F), ``in_degree`` and ``out_degree`` (|V|, 1).

        Raises:
            DataError: see `read_edges`.
        """
        faults = Faults()
        num_nodes = len(self.nodes[part])
        arrays = {}
        for name, columns in zip(NODE_DATA, (self.dataset.num_features, 1, 1), strict=True):
            file = self.folder / f"part{part}" / f"{name}.npy"
            arrays[name] = self._read(part, name, 2, np.float32)
            if arrays[name].shape != (num_nodes, columns):
                faults.add(file, f"expected shape {(num_nodes, columns)}, found {arrays[name].shape}")
            elif fault := fault_of_features(arrays[name], num_nodes):
                faults.add(file, fault)
        _check(self.folder, faults)
        return arrays

    def _read(self, part: int, name: str, dimensions: int, dtype: type[np.generic]) -> Any:
        """Read an array of a part, which must have this number of dimensions and dtype."""
        faults = Faults()
        array = read_npy(self.folder / f"part{part}" / f"{name}.npy", faults, dimensions, dtype)
        _check(self.folder, faults)
        return array


def is_partition(folder: str | Path) -> bool:
    """Whether a folder was made by `write_partition`."""
    return (user_path(folder) / _MANIFEST).is_file()


def write_partition(dataset: Dataset, num_parts: int, folder: Path) -> None:
    """Cut a graph into parts of about equal size with few edges between them (METIS), and with evenly distributed training nodes.

    Edge features are left out, with a warning.

    Raises:
        UsageError: several graphs, several targets, several official splits, more parts than nodes, or a folder that exists.
        StoreError: it cannot be written.
    """
    if dataset.task != "node" or dataset.num_graphs != 1:
        raise UsageError(
            f"{dataset.name} has many graphs, but only a single large graph is cut into parts. Many graphs fit batches as they are."
        )
    if dataset.target.parts is not None:
        raise UsageError(f"{dataset.name} has several targets ({listed(target_names(dataset.target))}). Choose one with --targets.")
    if len(dataset.official_splits) > 1:
        raise UsageError(
            f"{dataset.name} has {len(dataset.official_splits)} official splits, but a partition keeps one. Make the dataset with one of "
            "them: split=dgl_mutual.Split(train, val, test)."
        )
    if not 1 <= num_parts <= dataset.num_nodes:
        raise UsageError(
            f"{counted(dataset.num_nodes, 'node')} cannot be cut into {counted(num_parts, 'part')}. "
            f"Choose --parts 1 ... {dataset.num_nodes}."
        )
    if dataset.edge_features is not None:
        warn(f"The edge features of {dataset.name} are left out: parts of a graph have node features alone.")
        dataset = dataset.without_edge_features()
    folder = user_path(folder)
    refuse_taken(folder)
    with replacing(folder) as made:
        made.mkdir()
        _write(dataset, num_parts, made)
        refuse_taken(folder)  # something may have been put there since


def _write(dataset: Dataset, num_parts: int, folder: Path) -> None:
    """Write a whole partition into an empty folder."""
    ids, parts = _cut(dataset, num_parts)
    nodes, degrees = np.argsort(ids), [np.bincount(ends, minlength=dataset.num_nodes) for ends in dataset.edges]
    for part, (bounds, edges) in enumerate(parts):
        rows = nodes[bounds.start : bounds.stop]
        features = dataset.features[rows] if isinstance(dataset.features, np.ndarray) else dataset.features[rows].toarray()
        # The edges of a part do not determine the degrees of nodes beyond its border.
        out_degree, in_degree = (counts[rows].astype(np.float32)[:, np.newaxis] for counts in degrees)
        node_data = {"feat": features.astype(np.float32, copy=False), "in_degree": in_degree, "out_degree": out_degree}
        write_part(folder / f"part{part}", edges, node_data)
    split = dataset.official_split
    numbers: dict[str, Any] = {} if split is None else dict(split.parts)
    np.savez(folder / _NODES, labels=dataset.labels, ids=ids, **numbers)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = _Manifest(
        format=1,
        name=dataset.name,
        fingerprint=fingerprint(dataset),
        dgl=dgl.__version__,
        nodes=[len(bounds) for bounds, _ in parts],
        edges=[len(edges.sources) for _, edges in parts],
        target=dataset.target,
        evaluator=dataset.evaluator,
        feature_names=list(dataset.feature_names),
        feature_kinds=list(dataset.feature_kinds),
        key=secrets.token_hex(32),
        sha256={path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
    )
    (folder / _MANIFEST).touch(mode=0o600)  # before the key is in it
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_partition(folder: Path) -> Partition:
    """Read the data of a partition that trainers and servers need as a whole.

    Raises:
        DataError: files are missing or damaged, or the parts were made with another version of DGL.
    """
    folder = user_path(folder).resolve()
    manifest = _read_manifest(folder)
    if manifest.dgl != dgl.__version__:
        raise DataError(
            f"The parts in {str(folder)!r} were made with DGL {manifest.dgl}, but this is DGL {dgl.__version__}: servers and trainers need "
            "the same version. Remove the folder and create it again with 'dgl-mutual partition', or install that version."
        )
    faults = Faults()
    arrays = read_npz(folder / _NODES, ("labels", "ids"), faults, optional=_PARTS)
    _check(folder, faults)
    if fault := _fault_of(folder / _NODES, manifest.sha256.get(_NODES)):
        raise _damaged(folder, f"{_NODES} {fault}")
    labels, ids = arrays["labels"], arrays["ids"]
    try:
        split = Split(**{part: arrays[part] for part in _PARTS if part in arrays}) if "train" in arrays else None
        if ids.dtype.kind != "i" or ids.ndim != 1 or not np.array_equal(np.sort(ids), np.arange(len(labels))):
            raise ValueError(f"{_NODES}: ids are not the numbers 0 ... {len(labels) - 1}, each once")
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from None
    if sum(manifest.nodes) != len(labels):
        raise _damaged(folder, f"{_MANIFEST}: its parts have {sum(manifest.nodes)} nodes, and {_NODES} has {len(labels)}")
    if len(manifest.edges) != len(manifest.nodes):
        raise _damaged(folder, f"{_MANIFEST}: edges are not a number for each of {counted(len(manifest.nodes), 'part')}")
    for part in range(len(manifest.nodes)):
        for name in part_files(part):
            if name not in manifest.sha256:
                raise _damaged(folder, f"{_MANIFEST} has no hash of {name}")
    names = tuple(manifest.feature_names)
    dataset = Dataset(
        name=manifest.name,
        task="node",
        edges=np.empty((2, 0), dtype=np.int64),
        features=np.broadcast_to(np.zeros((), dtype=np.float32), (len(labels), len(names))),  # takes no memory
        labels=labels,
        node_offsets=np.array([0, len(labels)]),
        target=manifest.target,
        feature_names=names,
        feature_kinds=tuple(manifest.feature_kinds),
        official_splits=as_splits(split),
        evaluator=manifest.evaluator,
    )
    return Partition(
        folder=folder,
        nodes=_consecutive(manifest.nodes),
        edges=_consecutive(manifest.edges),
        ids=ids.astype(np.int64, copy=False),
        dataset=dataset,
        fingerprint=manifest.fingerprint,
        key=bytes.fromhex(manifest.key),
        sha256=manifest.sha256,
    )


def _consecutive(sizes: Iterable[int]) -> tuple[range, ...]:
    """Ranges of these sizes, the first from 0."""
    return tuple(range(first, last) for first, last in pairwise(accumulate(sizes, initial=0)))


def _fault_of(file: Path, sha256: str | None) -> str:
    """Why a file does not have this hash; empty if it has."""
    try:
        return "" if file_sha256(file) == sha256 else "is not the file that was written"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _cut(dataset: Dataset, num_parts: int) -> tuple[IntArray, list[tuple[range, PartEdges]]]:
    """Partition the graph: the store's index of each node, and for each part its nodes (as a range of these indices) and its edges.

    Raises:
        DataError: DGL finds no such partition.
    """
    if num_parts == 1:
        edges = PartEdges(dataset.edges[0], dataset.edges[1], np.empty(0, dtype=np.int64))
        return np.arange(dataset.num_nodes), [(range(dataset.num_nodes), edges)]
    too_few = DataError(f"METIS finds no {num_parts} parts of {dataset.name} that all have edges. Choose fewer --parts.")
    if dataset.edges.shape[1] < num_parts:
        raise too_few
    sources, destinations = (torch.as_tensor(row) for row in dataset.edges)
    # Without `to_homogeneous`, which `dgl.distributed.partition_graph` also calls, DGL orders the edges of a part differently.
    graph = dgl.to_homogeneous(dgl.graph((sources, destinations), num_nodes=dataset.num_nodes))
    balance = None
    if dataset.official_split is not None:
        balance = torch.zeros(graph.num_nodes(), dtype=torch.bool)
        balance[torch.as_tensor(dataset.official_split.train)] = True
    try:
        with redirect_stdout(None):  # DGL prints progress to standard output
            owners = dgl.metis_partition_assignment(graph, num_parts, balance_ntypes=balance)
            if owners is None or not np.bincount(owners[destinations], minlength=num_parts).all():
                raise too_few
            graphs, original, _ = dgl.partition_graph_with_halo(graph, owners, 1, reshuffle=True)
    except dgl.DGLError as error:
        raise DataError(f"DGL cannot cut {dataset.name} into {num_parts} parts ({str(error).splitlines()[0]}).") from None
    ids = np.empty(graph.num_nodes(), dtype=np.int64)
    ids[original.numpy()] = np.arange(graph.num_nodes())
    bounds = _consecutive(np.bincount(owners, minlength=num_parts).tolist())
    return ids, [(nodes, _edges_of(graphs[part], len(nodes))) for part, nodes in enumerate(bounds)]


def _edges_of(graph: dgl.DGLGraph, num_nodes: int) -> PartEdges:
    """The edges of a part, whose nodes are the first `num_nodes` of its graph; edges that lead to other nodes are left out."""
    sources, destinations = (ends.numpy() for ends in graph.edges(order="eid"))
    own = destinations < num_nodes
    return PartEdges(sources[own], destinations[own], graph.ndata[dgl.NID][num_nodes:].numpy())


def _read_manifest(folder: Path) -> _Manifest:
    try:
        return _Manifest.model_validate_json(read_bytes(folder / _MANIFEST, _MAX_MANIFEST))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(folder, f"{_MANIFEST}: {place}: {plain_message(first)}".replace(": : ", ": ")) from None
    except OSError as error:
        raise _damaged(folder, error) from None


def _check(folder: Path, faults: Faults) -> None:
    if faults.found:
        raise _damaged(folder, f"{faults.found[0].file.relative_to(folder).as_posix()}: {faults.found[0].rule}")


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(f"{str(folder)!r} is not a valid partition ({reason}). Remove it, and create it again with 'dgl-mutual partition'.")
