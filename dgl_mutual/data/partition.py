"""A graph in parts, for machines none of which could hold it: DGL's distributed graph store serves structure and features of the nodes.

What every trainer keeps whole is small: labels, the official split, and what the store calls each node.
"""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset, IntArray, Split, Target
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.targets import target_names
from dgl_mutual.errors import DataError, UsageError

#: What the store calls the graph.
GRAPH = "graph"
_MANIFEST, _NODES = "partition.json", "nodes.npz"
_PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Partition:
    """A folder with the parts of one dataset.

    Attributes:
        folder: parts, what they were made of, and labels.
        num_parts: how many there are.
        ids: (|V|,): what the store calls each node.
        dataset: labels, target and split of the whole, under the dataset's own name. It has no edges, and zeros for features.
        fingerprint: of the dataset that was cut up.
    """

    folder: Path
    num_parts: int
    ids: IntArray
    dataset: Dataset
    fingerprint: str

    @property
    def store_config(self) -> Path:
        """What DGL's servers and trainers read."""
        return self.folder / f"{GRAPH}.json"


def is_partition(folder: str | Path) -> bool:
    """Whether a folder was made by `write_partition`."""
    return (Path(folder).expanduser() / _MANIFEST).is_file()


def write_partition(dataset: Dataset, num_parts: int, folder: Path) -> None:
    """Cut a graph into parts of about equal numbers of nodes with few edges between them (METIS), training nodes spread evenly.

    Raises:
        UsageError: several graphs, several targets, or more parts than nodes.
        DataError: the folder holds something else.
    """
    if dataset.task != "node" or dataset.num_graphs != 1:
        raise UsageError(
            f"{dataset.name} has many graphs, and only one large graph is cut into parts. Many graphs fit batches as they are."
        )
    if dataset.target.parts is not None:
        raise UsageError(f"{dataset.name} has several targets ({', '.join(target_names(dataset.target))}). Choose one with --targets.")
    if not 1 <= num_parts <= dataset.num_nodes:
        raise UsageError(f"{dataset.num_nodes} nodes cannot be cut into {num_parts} parts. Choose --parts 1 ... {dataset.num_nodes}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not is_partition(folder):
        raise DataError(f"{str(folder)!r} is there already, and holds no partition. Choose another folder with --out, or remove it.")
    if is_partition(folder):
        found = _manifest(folder)
        if (found["fingerprint"], found["num_parts"]) != (fingerprint(dataset), num_parts):
            raise DataError(
                f"{str(folder)!r} holds {found['num_parts']} parts of {found['name']} ({found['fingerprint']}). Choose another with --out."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids = _cut(dataset, num_parts, folder)
    split = dataset.official_split
    parts = {} if split is None else {part: getattr(split, part) for part in _PARTS}
    np.savez(folder / _NODES, labels=dataset.labels, ids=ids, **parts)
    manifest = {
        "name": dataset.name,
        "fingerprint": fingerprint(dataset),
        "dgl": dgl.__version__,
        "num_parts": num_parts,
        "target": {
            "kind": dataset.target.kind,
            "names": dataset.target.names,
            "metric": dataset.target.metric,
            "name": dataset.target.name,
        },
        "evaluator": dataset.evaluator,
        "feature_names": dataset.feature_names,
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")  # last: without it the folder is no partition


def read_partition(folder: Path) -> Partition:
    """Read what a trainer or a server keeps of a partition.

    Raises:
        DataError: files are missing or damaged, or another version of DGL has made the parts.
    """
    folder = folder.expanduser().resolve()
    manifest = _manifest(folder)
    if manifest["dgl"] != dgl.__version__:
        raise DataError(
            f"The parts in {str(folder)!r} were made by DGL {manifest['dgl']}, whose files DGL {dgl.__version__} may read wrongly. "
            "Make them anew with 'dgl-mutual partition', or install that version."
        )
    try:
        with np.load(folder / _NODES, allow_pickle=False) as found:
            labels, ids = found["labels"], found["ids"]
            split = Split(*(found[part] for part in _PARTS)) if "train" in found else None
        target = Target(**{**manifest["target"], "names": tuple(manifest["target"]["names"])})
        names = tuple(manifest["feature_names"])
        num_parts, origin = int(manifest["num_parts"]), str(manifest["fingerprint"])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from None
    if not (folder / f"{GRAPH}.json").is_file() or len(ids) != len(labels):
        raise _damaged(folder, f"{GRAPH}.json is missing, or numbers of nodes differ")
    dataset = Dataset(
        name=str(manifest["name"]),
        task="node",
        edges=np.empty((2, 0), dtype=np.int64),
        features=np.broadcast_to(np.zeros((), dtype=np.float32), (len(labels), len(names))),  # takes no memory
        labels=labels,
        node_offsets=np.array([0, len(labels)]),
        target=target,
        feature_names=names,
        official_split=split,
        evaluator=manifest["evaluator"],
    )
    return Partition(folder, num_parts, ids, dataset, origin)


def _cut(dataset: Dataset, num_parts: int, folder: Path) -> IntArray:
    """Write the parts; what the store calls each node."""
    source, destination = (torch.as_tensor(row) for row in dataset.edges)
    graph = dgl.graph((source, destination), num_nodes=dataset.num_nodes)
    features = dataset.features if isinstance(dataset.features, np.ndarray) else dataset.features.toarray()
    graph.ndata["feat"] = torch.as_tensor(features, dtype=torch.float32)
    # A part does not know the degrees of nodes beyond its border.
    for name, degrees in (("in_degree", graph.in_degrees()), ("out_degree", graph.out_degrees())):
        graph.ndata[name] = degrees.to(torch.float32).unsqueeze(1)
    trains = torch.zeros(dataset.num_nodes, dtype=torch.bool)
    if dataset.official_split is not None:
        trains[torch.as_tensor(dataset.official_split.train)] = True
    balance = trains if dataset.official_split is not None else None
    with redirect_stdout(None):  # DGL tells its progress where results go
        original, _ = dgl.distributed.partition_graph(graph, GRAPH, num_parts, str(folder), balance_ntypes=balance, return_mapping=True)
    ids = np.empty(dataset.num_nodes, dtype=np.int64)
    ids[original.numpy()] = np.arange(dataset.num_nodes)
    return ids


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if not {"name", "fingerprint", "dgl", "num_parts", "target", "evaluator", "feature_names"} <= set(manifest):
            raise ValueError("keys are missing")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder, error) from None
    result: dict[str, Any] = manifest
    return result


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(f"{str(folder)!r} is no sound partition ({reason}). Make it anew with 'dgl-mutual partition'.")
