"""A graph in parts, for machines none of which could hold it: DGL's distributed graph store serves structure and features of the nodes.

What every trainer keeps whole is small: labels, the official split, and what the store calls each node.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, ValidationError

from dgl_mutual.data.arrays import FeatureKind, IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.download import file_sha256
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.numpy_files import read_npz
from dgl_mutual.data.several_targets import target_names
from dgl_mutual.data.split import Split, as_splits
from dgl_mutual.data.target import MetricName, Target
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.options import plain_message
from dgl_mutual.utils.files import read_bytes, replacing, unwritable, user_path
from dgl_mutual.utils.wording import counted

#: What the store calls the graph.
GRAPH = "graph"
_MANIFEST, _NODES = "partition.json", "nodes.npz"
_PARTS = ("train", "val", "test", "unlabelled")
#: Bytes that partition.json may have; names of features take the most.
_MOST_MANIFEST = 2**28
#: Bytes that graph.json may have.
_MOST_CONFIG = 2**26
#: What DGL calls the nodes, and the edges, of a graph that has one kind of each.
_Nodes: TypeAlias = Literal["_N"]
_Edges: TypeAlias = Literal["_N:_E:_N"]


_Read = TypeVar("_Read", bound=BaseModel)


class _ManifestTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str
    names: list[str]
    metric: MetricName
    name: str | None
    default_metric: MetricName | None = None


class _Manifest(BaseModel):
    """partition.json."""

    name: str
    fingerprint: str
    dgl: str
    num_parts: PositiveInt
    target: _ManifestTarget
    evaluator: str | None
    feature_names: list[str]
    feature_kinds: list[FeatureKind]
    #: What servers and trainers prove to have.
    key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    #: Of each other file of the folder.
    sha256: dict[str, str]


class _StoreConfig(BaseModel):
    """graph.json, which DGL writes and reads. Beside these fields it has the files of each part."""

    model_config = ConfigDict(extra="allow", strict=True)

    graph_name: Literal["graph"]
    num_parts: PositiveInt
    num_nodes: int
    num_edges: int
    node_map: Annotated[dict[_Nodes, list[tuple[int, int]]], Field(min_length=1)]
    edge_map: Annotated[dict[_Edges, list[tuple[int, int]]], Field(min_length=1)]
    ntypes: dict[_Nodes, Literal[0]]
    etypes: dict[_Edges, Literal[0]]


@dataclass(frozen=True, eq=False)
class Partition:
    """A folder with the parts of one dataset.

    Attributes:
        folder: parts, what they were made of, and labels.
        nodes: of each part, what the store calls its nodes.
        ids: (|V|,): what the store calls each node.
        dataset: labels, target and split of the whole, under the dataset's own name. It has no edges, and zeros for features.
        fingerprint: of the dataset that was cut up.
        key: a secret of this partition, by which servers and trainers know each other.
        sha256: hashes of its files, by their paths in the folder.
    """

    folder: Path
    nodes: tuple[range, ...]
    ids: IntArray
    dataset: Dataset
    fingerprint: str
    key: bytes
    sha256: dict[str, str]

    @property
    def num_parts(self) -> int:
        """How many there are."""
        return len(self.nodes)

    @property
    def store_config(self) -> Path:
        """What DGL's servers and trainers read."""
        return self.folder / f"{GRAPH}.json"

    def check_part(self, part: int) -> None:
        """Make sure that the files of one part are those that were written, before DGL reads them.

        Raises:
            DataError: one is missing or damaged.
        """
        for name in _files_of(part).values():
            file = self.folder / name
            if not file.is_file():
                raise DataError(f"{str(self.folder)!r} has no {name}. Copy part{part} here from where the partition was made.")
            if fault := _fault_of(file, self.sha256[name]):
                raise DataError(f"{str(file)!r} {fault}. Copy part{part} again from where the partition was made.")


def _files_of(part: int) -> dict[str, str]:
    """The files of one part, by what graph.json calls them."""
    return {
        "node_feats": f"part{part}/node_feat.dgl",
        "edge_feats": f"part{part}/edge_feat.dgl",
        "part_graph": f"part{part}/{GRAPH}.dgl",
    }


def is_partition(folder: str | Path) -> bool:
    """Whether a folder was made by `write_partition`."""
    return (user_path(folder) / _MANIFEST).is_file()


def write_partition(dataset: Dataset, num_parts: int, folder: Path) -> None:
    """Cut a graph into parts of about equal numbers of nodes with few edges between them (METIS), training nodes spread evenly.

    Edge features are left out, with a warning.

    Raises:
        UsageError: several graphs, several targets, several splits of the dataset's own, or more parts than nodes.
        DataError: the folder holds other files, or another partition; nothing in it is changed.
        StoreError: the disk does not take it.
    """
    if dataset.task != "node" or dataset.num_graphs != 1:
        raise UsageError(
            f"{dataset.name} has many graphs, and only one large graph is cut into parts. Many graphs fit batches as they are."
        )
    if dataset.target.parts is not None:
        raise UsageError(f"{dataset.name} has several targets ({', '.join(target_names(dataset.target))}). Choose one with --targets.")
    if len(dataset.official_splits) > 1:
        raise UsageError(
            f"{dataset.name} has {len(dataset.official_splits)} splits of its own, and a partition keeps one. Make the dataset with one of "
            "them: split=dgl_mutual.Split(train, val, test)."
        )
    if not 1 <= num_parts <= dataset.num_nodes:
        raise UsageError(
            f"{counted(dataset.num_nodes, 'node')} cannot be cut into {counted(num_parts, 'part')}. "
            f"Choose --parts 1 ... {dataset.num_nodes}."
        )
    if dataset.edge_features is not None:
        warnings.warn(f"The edge features of {dataset.name} are left out: parts of a graph have node features alone.", stacklevel=2)
        dataset = dataset.without_edge_features()
    folder = user_path(folder)
    if folder.is_symlink() and not folder.exists():
        raise DataError(f"{str(folder)!r} is a link to nothing. Choose another folder with --out, or remove it.")
    folder = folder.resolve()
    _check_replaceable(folder, dataset, num_parts)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as made:
            made.mkdir()
            _write(dataset, num_parts, made)
            _check_replaceable(folder, dataset, num_parts)  # something may have been put there since
    except OSError as error:
        raise unwritable(folder, error) from None


def _check_replaceable(folder: Path, dataset: Dataset, num_parts: int) -> None:
    """Raises DataError if the folder holds anything but a partition of this dataset into so many parts."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_partition(folder):
        raise DataError(f"{str(folder)!r} is there already, and holds no partition. Choose another folder with --out, or remove it.")
    try:
        found = _Manifest.model_validate_json(read_bytes(folder / _MANIFEST, _MOST_MANIFEST))
    except (OSError, ValidationError):
        raise DataError(
            f"{str(folder)!r} holds a damaged partition, or that of another version. Choose another folder with --out, or remove it."
        ) from None
    if (found.fingerprint, found.num_parts) != (fingerprint(dataset), num_parts):
        raise DataError(f"{str(folder)!r} holds {found.num_parts} parts of {found.name} ({found.fingerprint}). Choose another with --out.")
    if foreign := _foreign(folder, found):
        raise DataError(
            f"{str(folder)!r} holds {foreign!r} beside its partition, which would be lost. Move that elsewhere, or choose another folder "
            "with --out."
        )


def _foreign(folder: Path, manifest: _Manifest) -> str | None:
    """The path of something in the folder that `write_partition` has not written."""
    files = {*manifest.sha256, _MANIFEST}
    folders = {Path(name).parent.as_posix() for name in files} - {"."}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not ((path.is_file() and name in files) or (path.is_dir() and name in folders)):
            return name
    return None


def _write(dataset: Dataset, num_parts: int, folder: Path) -> None:
    """Write a whole partition into an empty folder."""
    try:
        graph = _graph_of(dataset)
        ids = _cut(graph, num_parts, folder, dataset.official_split)
        _check_parts(graph, ids, num_parts, folder)
    except dgl.DGLError as error:
        if shutil.disk_usage(folder).free < 2**20 or "fwrite" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise DataError(f"DGL cannot cut {dataset.name} into {num_parts} parts ({str(error).splitlines()[0]}).") from None
    split = dataset.official_split
    parts: dict[str, Any] = {} if split is None else dict(split.parts)
    np.savez(folder / _NODES, labels=dataset.labels, ids=ids, **parts)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = _Manifest(
        name=dataset.name,
        fingerprint=fingerprint(dataset),
        dgl=dgl.__version__,
        num_parts=num_parts,
        target=_ManifestTarget(
            kind=dataset.target.kind,
            names=list(dataset.target.names),
            metric=dataset.target.metric,
            name=dataset.target.name,
            default_metric=dataset.target.default_metric,
        ),
        evaluator=dataset.evaluator,
        feature_names=list(dataset.feature_names),
        feature_kinds=list(dataset.feature_kinds),
        key=secrets.token_hex(32),
        sha256={path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
    )
    (folder / _MANIFEST).touch(mode=0o600)  # before the key is in it
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _check_parts(graph: dgl.DGLGraph, ids: IntArray, num_parts: int, folder: Path) -> None:
    """Compare parts with the graph, since DGL does not notice that a disk is full: raises DGLError or OSError if one was cut off."""
    nodes = np.argsort(ids)
    num_edges = first = 0
    for part in range(num_parts):
        files = folder / f"part{part}"
        stored = dgl.data.utils.load_tensors(str(files / "node_feat.dgl"))
        (local,), _ = dgl.load_graphs(str(files / "graph.dgl"))
        # What DGL reads beyond the end of a file is memory that may still hold what was written, so that values alone prove nothing.
        held = [*(local.ndata[name] for name in local.ndata), *(local.edata[name] for name in local.edata), local.edges()[0]]
        for file, tensors in (("node_feat.dgl", list(stored.values())), ("graph.dgl", held)):
            if (files / file).stat().st_size < sum(tensor.nbytes for tensor in tensors):
                raise OSError(errno.EIO, f"part{part} was not written whole")
        num_nodes = int(local.ndata["inner_node"].sum())
        num_edges += int(local.edata["inner_edge"].sum())
        rows = torch.as_tensor(nodes[first : first + num_nodes])
        first += num_nodes
        if not all(torch.equal(stored[f"_N/{name}"], graph.ndata[name][rows]) for name in graph.ndata):
            raise OSError(errno.EIO, f"part{part} was not written whole")
    if (first, num_edges) != (graph.num_nodes(), graph.num_edges()):
        raise OSError(errno.EIO, "parts were not written whole")


def read_partition(folder: Path) -> Partition:
    """Read what a trainer or a server keeps of a partition.

    Raises:
        DataError: files are missing or damaged, or another version of DGL has made the parts.
    """
    folder = user_path(folder).resolve()
    manifest = _read(folder / _MANIFEST, _Manifest, _MOST_MANIFEST)
    if manifest.dgl != dgl.__version__:
        raise DataError(
            f"The parts in {str(folder)!r} were made by DGL {manifest.dgl}, whose files DGL {dgl.__version__} may read wrongly. "
            "Create them again with 'dgl-mutual partition', or install that version."
        )
    faults = Faults()
    arrays = read_npz(folder / _NODES, ("labels", "ids"), faults, optional=_PARTS)
    if faults.found:
        raise _damaged(folder, faults.found[0].rule)
    _check_hash(folder / _NODES, manifest)
    labels, ids = arrays["labels"], arrays["ids"]
    try:
        split = Split(**{part: arrays[part] for part in _PARTS if part in arrays}) if "train" in arrays else None
        target = Target(**{**manifest.target.model_dump(), "names": tuple(manifest.target.names)})
        if len(ids) != len(labels):
            raise ValueError("numbers of nodes differ")
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from None
    nodes = _check_config(folder, manifest, len(labels))
    names = tuple(manifest.feature_names)
    dataset = Dataset(
        name=manifest.name,
        task="node",
        edges=np.empty((2, 0), dtype=np.int64),
        features=np.broadcast_to(np.zeros((), dtype=np.float32), (len(labels), len(names))),  # takes no memory
        labels=labels,
        node_offsets=np.array([0, len(labels)]),
        target=target,
        feature_names=names,
        feature_kinds=tuple(manifest.feature_kinds),
        official_splits=as_splits(split),
        evaluator=manifest.evaluator,
    )
    return Partition(folder, nodes, ids, dataset, manifest.fingerprint, bytes.fromhex(manifest.key), manifest.sha256)


def _check_hash(file: Path, manifest: _Manifest) -> None:
    """Raises DataError if a file of the folder is not the one that was written."""
    if fault := _fault_of(file, manifest.sha256.get(file.name)):
        raise _damaged(file.parent, f"{file.name} {fault}")


def _fault_of(file: Path, sha256: str | None) -> str:
    """Why a file is not the one with this hash; empty if it is."""
    try:
        return "" if file_sha256(file) == sha256 else "is not the file that was written"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _check_config(folder: Path, manifest: _Manifest, num_nodes: int) -> tuple[range, ...]:
    """What the store calls the nodes of each part. DGL opens whatever graph.json names, so all in it must be as it is written.

    Raises:
        DataError: it is not.
    """
    file = folder / f"{GRAPH}.json"
    config = _read(file, _StoreConfig, _MOST_CONFIG)
    _check_hash(file, manifest)
    for key, pairs, end in (("node_map", config.node_map["_N"], num_nodes), ("edge_map", config.edge_map["_N:_E:_N"], config.num_edges)):
        bounds = [0, *(last for _, last in pairs)]
        if len(pairs) != manifest.num_parts or pairs != list(pairwise(bounds)) or bounds != sorted(bounds) or bounds[-1] != end:
            raise _damaged(folder, f"{file.name}: {key} does not divide the numbers from 0 to {end} among {manifest.num_parts} parts")
    if (config.num_parts, config.num_nodes) != (manifest.num_parts, num_nodes):
        raise _damaged(folder, f"{file.name} is of {config.num_nodes} nodes in {config.num_parts} parts")
    for part in range(manifest.num_parts):
        found = (config.model_extra or {}).get(f"part-{part}")
        if found != _files_of(part):
            raise _damaged(folder, f"{file.name} has other files for part {part}: {str(found)[:200]!r}")
        if lacking := sorted({*_files_of(part).values()} - manifest.sha256.keys()):
            raise _damaged(folder, f"{_MANIFEST} has no hash of {lacking[0]}")
    return tuple(range(first, last) for first, last in config.node_map["_N"])


def _graph_of(dataset: Dataset) -> dgl.DGLGraph:
    source, destination = (torch.as_tensor(row) for row in dataset.edges)
    graph = dgl.graph((source, destination), num_nodes=dataset.num_nodes)
    features = dataset.features if isinstance(dataset.features, np.ndarray) else dataset.features.toarray()
    graph.ndata["feat"] = torch.as_tensor(features, dtype=torch.float32)
    # A part does not know the degrees of nodes beyond its border.
    for name, degrees in (("in_degree", graph.in_degrees()), ("out_degree", graph.out_degrees())):
        graph.ndata[name] = degrees.to(torch.float32).unsqueeze(1)
    return graph


def _cut(graph: dgl.DGLGraph, num_parts: int, folder: Path, split: Split | None) -> IntArray:
    """Write the parts; what the store calls each node."""
    balance = None
    if split is not None:
        balance = torch.zeros(graph.num_nodes(), dtype=torch.bool)
        balance[torch.as_tensor(split.train)] = True
    with redirect_stdout(None):  # DGL tells its progress where results go
        original, _ = dgl.distributed.partition_graph(graph, GRAPH, num_parts, str(folder), balance_ntypes=balance, return_mapping=True)
    ids = np.empty(graph.num_nodes(), dtype=np.int64)
    ids[original.numpy()] = np.arange(graph.num_nodes())
    return ids


def _read(file: Path, model: type[_Read], most: int) -> _Read:
    try:
        return model.model_validate_json(read_bytes(file, most))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(file.parent, f"{file.name}: {place}: {plain_message(first)}".replace(": : ", ": ")) from None
    except OSError as error:
        raise _damaged(file.parent, error) from None


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(f"{str(folder)!r} is not a valid partition ({reason}). Create it again with 'dgl-mutual partition'.")
