from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dgl_mutual.data import known_datasets, load_dataset, verify_dataset
from dgl_mutual.data.sources import ogb_package
from dgl_mutual.data.sources.ogb_graphs import read_ogb
from dgl_mutual.data.sources.ogb_package import make_evaluator
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.errors import DataError

Build = Callable[..., Path]


def test_small_molecules(build_ogb: Build) -> None:
    dataset = read_ogb(build_ogb(), "ogbg-molbace", Faults(), Request())
    assert dataset.edges.tolist() == [[1, 0, 2, 1, 4, 3], [0, 1, 1, 2, 3, 4]]
    assert dataset.node_offsets.tolist() == [0, 3, 5, 6]
    assert dataset.labels.tolist() == [[1], [0], [1]] and dataset.target.kind == "multi-label" and dataset.target.metric == "rocauc"
    bonds = sparse.csr_matrix(dataset.features).toarray()[:, -13:]
    both = np.zeros(13)
    both[[0, 3]] = both[[5 + 0]] = 1
    both[5], both[11], both[12] = 2, 1, 1  # node 1 has the bonds (0, 0, 0) and (3, 0, 1)
    np.testing.assert_array_equal(bonds[1], both)
    assert not bonds[5].any()


def test_features_times_weights_are_ogbs_encoders(data_dir: Path) -> None:
    """x W, with the tables of OGB's AtomEncoder and BondEncoder stacked into W."""
    import torch
    from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder
    from ogb.io.read_graph_raw import read_csv_graph_raw

    dataset = load_dataset("ogbg-molbace", data_dir=data_dir, offline=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        graphs = read_csv_graph_raw(str(data_dir / "ogb" / "ogbg_molbace" / "raw"), add_inverse_edge=True)
    torch.manual_seed(0)
    atoms, bonds = AtomEncoder(8).double(), BondEncoder(8).double()
    tables = [table.weight.detach().numpy() for table in (*atoms.atom_embedding_list, *bonds.bond_embedding_list)]
    ours = sparse.csr_matrix(dataset.features).astype(np.float64) @ np.concatenate(tables)
    assert dataset.num_graphs == len(graphs) == 1513
    for number in (0, 7, 1512):
        graph, nodes = graphs[number], slice(*dataset.node_offsets[number : number + 2])
        with torch.no_grad():
            theirs = atoms(torch.as_tensor(graph["node_feat"]))
            theirs.index_add_(0, torch.as_tensor(graph["edge_index"][1]), bonds(torch.as_tensor(graph["edge_feat"])))
        np.testing.assert_allclose(ours[nodes], theirs.numpy(), atol=1e-12)
        edges = dataset.edges[:, slice(*dataset.edge_offsets[number : number + 2])] - dataset.node_offsets[number]
        assert set(zip(*edges.tolist(), strict=True)) == set(zip(*graph["edge_index"].tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "graphs", "split"),
    [
        ("ogbg-molbace", 1513, (1210, 151, 152)),
        ("ogbg-molbbbp", 2039, (1631, 204, 204)),
        ("ogbg-molhiv", 41127, (32901, 4113, 4113)),
    ],
)
def test_published_counts(data_dir: Path, name: str, graphs: int, split: tuple[int, int, int]) -> None:
    dataset = load_dataset(name, data_dir=data_dir, offline=True)
    assert dataset.num_graphs == graphs and dataset.labels.shape == (graphs, 1)
    assert dataset.official_split is not None and dataset.evaluator == name
    parts = (dataset.official_split.train, dataset.official_split.val, dataset.official_split.test)
    assert tuple(map(len, parts)) == split
    assert sorted(np.concatenate(parts)) == list(range(graphs))


def test_missing_labels_are_nan(build_ogb: Build) -> None:
    dataset = read_ogb(build_ogb("ogbg-molclintox", raw__graph_label="1,\n,0\n0,1\n"), "ogbg-molclintox", Faults(), Request())
    np.testing.assert_array_equal(dataset.labels, [[1, np.nan], [np.nan, 0], [0, 1]])
    assert dataset.target.num_outputs == 2


FAULTS = [
    ({"raw__edge": "0,1\n1,3\n0,1\n"}, r"edge\.csv\.gz, line 2: expected both ends .* found '1, 3'"),
    ({"raw__edge": "0,1\n1,2\n"}, r"edge\.csv\.gz, line 3: expected 3 lines"),
    ({"raw__num_node_list": "3\n2\n"}, r"graph-label\.csv\.gz, line 3: expected 2 lines, one for each graph"),
    ({"raw__num_node_list": "3\n-9\n1\n"}, r"num-node-list\.csv\.gz, line 2: expected at least one node, found '-9'"),
    ({"raw__num_edge_list": "2\n-9\n1\n"}, r"num-edge-list\.csv\.gz, line 2: expected a number of edges, found '-9'"),
    ({"raw__num_node_list": "3\n3\n0\n"}, r"num-node-list\.csv\.gz, line 3: expected at least one node"),
    ({"raw__edge_feat": "0,0,0\n3,0,1\n5,5,1\n"}, r"edge-feat\.csv\.gz, line 3: expected codes below 5, 6, 2"),
    ({"raw__graph_label": "1\n2\n0\n"}, r"graph-label\.csv\.gz, line 2: expected 0, 1 or nothing"),
    ({"raw__graph_label": "1\n0,1\n0\n"}, r"graph-label\.csv\.gz, line 2: expected 1 value per line"),
    ({"split__scaffold__test": "3\n"}, r"test\.csv\.gz, line 1: expected a graph index 0 \.\.\. 2, found '3'"),
    ({"split__scaffold__test": "0\n"}, r"test\.csv\.gz, line 1: expected each graph in one part"),
    ({"raw__edge": b"\x1f\x8b\x08\x00trunc"}, r"edge\.csv\.gz: the file is truncated or damaged"),
    ({"raw__edge": b"not gzip"}, r"edge\.csv\.gz: the file is truncated or damaged"),
]


@pytest.mark.parametrize(("changed", "message"), FAULTS)
def test_faults(build_ogb: Build, changed: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ogb(build_ogb(**changed), "ogbg-molbace", Faults(), Request())


def test_user_folder_is_not_written_to_and_nothing_is_printed(build_ogb: Build, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_ogb()
    before = sorted(folder.rglob("*"))
    load_dataset("ogbg-molbace", data_dir=folder.parent.parent, offline=True)
    verify_dataset("ogbg-molbace", data_dir=folder.parent.parent)
    assert sorted(folder.rglob("*")) == before
    assert capsys.readouterr() == ("", "")


def test_catalog_agrees_with_the_ogb_package() -> None:
    entries = [entry for entry in known_datasets().values() if entry.family == "ogb"]
    master = pd.read_csv(ogb_package._file("graphproppred/master.csv"), index_col=0)
    assert len(entries) == 10
    for entry in entries:
        assert entry.url == master[entry.name]["url"].replace("http://", "https://")


def test_evaluator_is_ogbs() -> None:
    truth, scores = np.array([[1.0], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.1]])
    assert make_evaluator("ogbg-molhiv").eval({"y_true": truth, "y_pred": scores}) == {"rocauc": 0.75}


def test_the_package_ogb_is_not_imported(build_ogb: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it asks the package index for a newer version."""
    for module in [name for name in sys.modules if name == "ogb" or name.startswith("ogb.")]:
        monkeypatch.delitem(sys.modules, module)
    ogb_package._load.cache_clear()
    read_ogb(build_ogb(), "ogbg-molbace", Faults(), Request())
    make_evaluator("ogbg-molbace")
    ogb_package.node_facts("ogbn-arxiv")
    widths = ogb_package.feature_widths()
    assert "ogb" not in sys.modules
    theirs = pytest.importorskip("ogb.utils.features")
    assert widths == (theirs.get_atom_feature_dims(), theirs.get_bond_feature_dims())
