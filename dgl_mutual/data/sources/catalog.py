"""The datasets known by name: their addresses, citations, and the hashes of their files where these are known."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Literal, TypeAlias

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.registry import IMPORT_PATH, installed_plug_ins
from dgl_mutual.utils.plain_yaml import read_yaml

Family: TypeAlias = Literal["digits", "planetoid", "npz", "tu", "ogb", "ogbn", "ppi"]

_MIB = 1 << 20
#: The most bytes of a download. The largest files: PubMed's features (12 MB), Coauthor-Physics (17 MB), reddit_threads.zip (a TU dataset of
#: 200,000 graphs), ogbn-products.zip (1.4 GB), ppi.zip.
_MAX_BYTES: dict[Family, int] = {
    "digits": 0,
    "planetoid": 64 * _MIB,
    "npz": 128 * _MIB,
    "tu": 2048 * _MIB,
    "ogb": 1024 * _MIB,
    "ogbn": 4096 * _MIB,
    "ppi": 512 * _MIB,
}

PLANETOID_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
#: The most letters of a TU dataset's name: file names contain it, and must fit 255 bytes.
_MAX_NAME = 60
#: Required and optional files of a TU dataset.
TU_PARTS = ("A", "graph_indicator", "graph_labels")
TU_OPTIONAL_PARTS = ("graph_attributes", "node_labels", "node_attributes", "edge_labels", "edge_attributes")
_OGB_FILES = (
    *(f"raw/{part}.csv.gz" for part in ("edge", "edge-feat", "graph-label", "node-feat", "num-edge-list", "num-node-list")),
    *(f"split/scaffold/{part}.csv.gz" for part in ("train", "valid", "test")),
)

_PPI_FILES = tuple(
    f"{part}_{kind}" for part in ("train", "valid", "test") for kind in ("graph.json", "feats.npy", "labels.npy", "graph_id.npy")
)


@dataclass(frozen=True)
class Entry:
    """A known dataset.

    Attributes:
        tasks: the tasks that it can be used for, the default first.
        folder: the folder of its files, relative to the data folder.
        files: required files, relative to `folder`.
        optional: files that are read if they exist.
        url: the address of a zip archive of the folder, or the base address of `files`; None if nothing is downloaded.
        citation: the publications to cite.
    """

    name: str
    tasks: tuple[TaskName, ...]
    family: Family
    folder: str
    files: tuple[str, ...]
    url: str | None
    citation: str
    optional: tuple[str, ...] = ()

    @property
    def is_archive(self) -> bool:
        return self.url is not None and self.url.endswith(".zip")

    @property
    def max_bytes(self) -> int:
        """The most bytes of a downloaded file: several times the size of the largest file of its family."""
        return _MAX_BYTES[self.family]

    @property
    def sha256(self) -> dict[str, str]:
        """The known hashes of its files, by path relative to `folder`; empty where none is known."""
        found = {file: known_sha256().get(f"{self.folder}/{file}") for file in (*self.files, *self.optional)}
        return {file: digest for file, digest in found.items() if digest is not None}

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Optional files that the published dataset does not have; empty if none of its hashes is known."""
        known = self.sha256
        return tuple(file for file in self.optional if file not in known) if known else ()


@cache
def known_sha256() -> dict[str, str]:
    """Hashes of the published files, by path relative to the data folder (``sha256.yaml``)."""
    hashes: dict[str, str] = read_yaml(resources.files("dgl_mutual.data.sources").joinpath("sha256.yaml").read_text(encoding="utf-8"))
    return hashes


def _planetoid(name: str) -> Entry:
    files = tuple(f"ind.{name.lower()}.{part}" for part in PLANETOID_PARTS)
    url = "https://github.com/kimiyoung/planetoid/raw/master/data/"
    return Entry(name, ("node",), "planetoid", "planetoid", files, url, "Yang et al., ICML 2016 (Planetoid)")


def _npz(name: str, file: str) -> Entry:
    url = "https://github.com/shchur/gnn-benchmark/raw/master/data/npz/"
    return Entry(name, ("node",), "npz", "npz", (f"{file}.npz",), url, "Shchur et al., 2018 (Pitfalls of GNN evaluation)")


def tu_entry(name: str) -> Entry:
    """The entry of any TU dataset, listed or not: all have the same base address."""
    file = {part: f"{name}_{part}.txt" for part in (*TU_PARTS, *TU_OPTIONAL_PARTS)}
    # Node features are required if they are known to be published; edge features are always optional.
    of_nodes = [part for part in ("node_labels", "node_attributes") if f"tu/{name}/{file[part]}" in known_sha256()]
    files = tuple(file[part] for part in (*TU_PARTS, *of_nodes))
    optional = tuple(file[part] for part in TU_OPTIONAL_PARTS if part not in of_nodes)
    url = f"https://www.chrsmrrs.com/graphkerneldatasets/{name}.zip"
    return Entry(name, ("graph",), "tu", f"tu/{name}", files, url, "Morris et al., 2020 (TUDataset)", optional)


def _ogb(name: str) -> Entry:
    url = f"https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/{name.removeprefix('ogbg-mol')}.zip"
    citation = "Hu et al., NeurIPS 2020 (OGB); Wu et al., 2018 (MoleculeNet)"
    return Entry(name, ("graph",), "ogb", f"ogb/{name.replace('-', '_')}", _OGB_FILES, url, citation)


def _ogbn(name: str, split: str, raw: tuple[str, ...]) -> Entry:
    short = name.removeprefix("ogbn-")
    files = (
        *(f"raw/{part}.csv.gz" for part in ("edge", "node-label", "num-edge-list", "num-node-list", *raw)),
        *(f"split/{split}/{part}.csv.gz" for part in ("train", "valid", "test")),
    )
    url = f"https://snap.stanford.edu/ogb/data/nodeproppred/{short}.zip"
    return Entry(name, ("node",), "ogbn", f"ogb/{name.replace('-', '_')}", files, url, "Hu et al., NeurIPS 2020 (OGB)")


_TU_NAMES = (
    *("AIDS", "BZR", "COLLAB", "COX2", "DD", "DHFR", "ENZYMES", "FRANKENSTEIN", "IMDB-BINARY", "IMDB-MULTI", "MUTAG", "Mutagenicity"),
    *("NCI1", "NCI109", "PROTEINS", "PTC_FM", "PTC_FR", "PTC_MM", "PTC_MR", "REDDIT-BINARY", "REDDIT-MULTI-5K", "REDDIT-MULTI-12K"),
)
_OGB_NAMES = tuple(f"ogbg-mol{name}" for name in ("bace", "bbbp", "chembl", "clintox", "hiv", "muv", "pcba", "sider", "tox21", "toxcast"))
#: Published datasets that cannot be used, and why; a trailing * matches any rest of a name.
_UNSUPPORTED = {
    "ogbg-molesol": "its target is continuous (regression), and only classification is supported",
    "ogbg-molfreesolv": "its target is continuous (regression), and only classification is supported",
    "ogbg-mollipo": "its target is continuous (regression), and only classification is supported",
    "ogbg-ppa": "of OGB's graph datasets, only those of molecules are read",
    "ogbg-code2": "its target is a sequence of words, and only classification is supported",
    "ogbn-mag": "it is heterogeneous, and students take one type of node and of edge",
    "ogbn-papers100M": "it is not read by name; give the path of a folder with raw/data.npz, where memory holds 111 million nodes",
    "ogbl-*": "it is for link prediction, and nodes or graphs are classified",
    "QM9": "its targets are continuous (regression), and only classification is supported",
    "ZINC*": "its target is continuous (regression), and only classification is supported",
    "alchemy_full": "its targets are continuous (regression), and only classification is supported",
}
_DIGITS_CITATION = "Alpaydin and Kaynak, 1998 (UCI digits, as in scikit-learn)"


@cache
def known_datasets() -> dict[str, Entry]:
    """Every known dataset, by name."""
    entries = (
        Entry("digits", ("node", "graph"), "digits", "", (), None, _DIGITS_CITATION),
        Entry("digits-multi", ("node", "graph"), "digits", "", (), None, f"{_DIGITS_CITATION}; three targets"),
        *map(_planetoid, ("Cora", "CiteSeer", "PubMed")),
        _npz("Amazon-Computers", "amazon_electronics_computers"),
        _npz("Amazon-Photo", "amazon_electronics_photo"),
        _npz("Coauthor-CS", "ms_academic_cs"),
        _npz("Coauthor-Physics", "ms_academic_phy"),
        Entry(
            "PPI", ("node",), "ppi", "ppi", _PPI_FILES, "https://data.dgl.ai/dataset/ppi.zip", "Hamilton et al., NeurIPS 2017 (GraphSAGE)"
        ),
        *map(tu_entry, _TU_NAMES),
        *map(_ogb, _OGB_NAMES),
        _ogbn("ogbn-arxiv", "time", ("node-feat",)),
        _ogbn("ogbn-products", "sales_ranking", ("node-feat",)),
        _ogbn("ogbn-proteins", "species", ("edge-feat",)),
    )
    return {entry.name: entry for entry in entries}


def lookup(name: str) -> Entry | None:
    """Find an entry by name, ignoring case; None if it is unknown. ``tu/NAME`` is any TU dataset; the case of an unlisted name counts."""
    by_lower = {known.lower(): entry for known, entry in known_datasets().items()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    prefix, _, tu_name = name.partition("/")
    if prefix.lower() != "tu" or len(tu_name) > _MAX_NAME or not tu_name.replace("-", "").replace("_", "").isalnum():
        return None
    listed = by_lower.get(tu_name.lower())
    return listed if listed is not None and listed.family == "tu" else tu_entry(tu_name)


def why_unsupported(name: str) -> str | None:
    """Why a published dataset cannot be used, for a message; None for other datasets. Case is ignored."""
    return next((why for pattern, why in _UNSUPPORTED.items() if fnmatchcase(name.lower(), pattern.lower())), None)


def refuse_unsupported(name: str) -> None:
    """Raise `UsageError` for a published dataset that cannot be used."""
    if (why := why_unsupported(name)) is not None:
        raise UsageError(f"The dataset {name} cannot be used: {why}. 'dgl-mutual data list' shows the known datasets.")


def find_entry(name: str) -> Entry:
    """As `lookup`, for names that must be known.

    Raises:
        UsageError: an unknown dataset, with the nearest name and all names, or one that cannot be used, with the reason.
    """
    entry = lookup(name)
    if entry is None:
        refuse_unsupported(name)
        installed = [plug_in.name for plug_in in installed_plug_ins("dgl_mutual.datasets")]
        others = ["tu/NAME (any other TU dataset)", "the path of a folder", IMPORT_PATH]
        raise unknown("dataset", name, [*known_datasets(), *installed, *others])
    return entry
