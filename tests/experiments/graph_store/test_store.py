from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.sources.partition import Partition, read_partition, write_partition
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.graph_store.addresses import Address, is_loopback, own_part, read_servers
from dgl_mutual.experiments.graph_store.messages import GraphStoreError
from dgl_mutual.experiments.graph_store.store import serve
from dgl_mutual.experiments.graph_store.transport import ServerTransport


@pytest.fixture(scope="module")
def partition(tmp_path_factory: pytest.TempPathFactory) -> Partition:
    folder = tmp_path_factory.mktemp("made") / "parts"
    write_partition(load_dataset("digits", "node"), 2, folder)
    return read_partition(folder)


def servers(folder: Path, text: str) -> Path:
    (folder / "servers").write_text(text)
    return folder / "servers"


def test_addresses_are_read(partition: Partition, tmp_path: Path) -> None:
    found = read_servers(partition, servers(tmp_path, "127.0.0.1 30050\n\n  localhost\t 1 \n".replace("\t", " ")))
    assert found == [Address("127.0.0.1", 30050), Address("localhost", 1)]


@pytest.mark.parametrize(
    "line",
    ["127.0.0.1", "127.0.0.1 0", "127.0.0.1 65536", "127.0.0.1 -1", "127.0.0.1 x", "a b 3", "h ٣", "h " + "9" * 5000]
    + [f"{host} 3" for host in ("n" * 64, "n." * 150, "a..b", "a\0b", "\x1bb")],
)
def test_a_wrong_line_is_one_message(partition: Partition, tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"has the line .* A line is 'ADDRESS PORT'"):
        read_servers(partition, servers(tmp_path, f"127.0.0.1 1\n{line}\n"))


@pytest.mark.parametrize("host", ["0.0.0.0", "198.51.100.1", "::", "2001:db8::1"])
def test_an_address_that_others_reach_needs_trust(partition: Partition, tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=r"Other machines can reach .* add --trust-network"):
        serve(partition, servers(tmp_path, f"127.0.0.1 1\n{host} 2\n"), part=1, trainers=1)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("10.0.0.7", False)]
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_an_unknown_host_is_one_message() -> None:
    with pytest.raises(UsageError, match=r"'no-such\.invalid', which is neither an address nor"):
        is_loopback("no-such.invalid")


def test_a_machine_finds_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_part([Address("198.51.100.1", 5), Address("127.0.0.1", 5)]) == 1
    assert own_part([Address("198.51.100.1", 5), Address("127.0.0.1", 5), Address("198.51.100.1", 6)]) == 1
    monkeypatch.setenv("GROUP_RANK", "1")
    assert own_part([Address("127.0.0.1", 5), Address("127.0.0.1", 6)]) == 1
    with pytest.raises(GraphStoreError, match=r"no address of this machine \(198\.51\.100\.1, 198\.51\.100\.2\)"):
        own_part([Address("198.51.100.1", 5), Address("198.51.100.2", 5)])


def test_a_part_that_was_not_copied_whole_is_not_served(partition: Partition, tmp_path: Path) -> None:
    file = partition.folder / "part1" / "sources.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"is not the file that was written\. Copy part1 again"):
        serve(partition, servers(tmp_path, "127.0.0.1 1\n127.0.0.1 2\n"), part=1, trainers=1)
    file.unlink()
    with pytest.raises(DataError, match=r"has no part1/sources\.npy\. Copy part1 here"):
        serve(partition, servers(tmp_path, "127.0.0.1 1\n127.0.0.1 2\n"), part=1, trainers=1)
    file.write_bytes(whole)
    partition.check_part(1)


@pytest.mark.parametrize("name", ["sources", "feat"])
def test_a_forged_part_is_not_served(partition: Partition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.graph_store.store._SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(ServerTransport, "install", lambda self: None)
    for loader in ("load_partition", "load_partition_feats"):
        monkeypatch.setattr(dgl.distributed.dist_graph, loader, None)  # put back afterwards
    folder = Path(shutil.copytree(partition.folder, tmp_path / "parts"))
    with (folder / "part1" / f"{name}.npy").open("r+b") as file:
        file.write(b"\xdc\xe3FX")
    forged = replace(partition, folder=folder)
    monkeypatch.setattr(Partition, "check_part", lambda *_: None)  # whoever forges a part makes its hashes, too
    with pytest.raises(DataError, match=rf"is not a valid partition \(part1/{name}\.npy: expected an array that numpy saved"):
        serve(forged, servers(tmp_path, "127.0.0.1 1\n127.0.0.1 2\n"), part=1, trainers=1)


class Faulty:
    """In place of DGL's server: raises an error when it is made, or when it is started."""

    def __init__(self, made: Exception | None = None, started: Exception | None = None) -> None:
        self.made, self.started = made, started

    def __call__(self, *_: object, **__: object) -> Faulty:
        if self.made is not None:
            raise self.made
        return self

    def start(self) -> None:
        assert self.started is not None
        raise self.started


@pytest.mark.parametrize(
    ("server", "error", "message"),
    [
        (
            Faulty(made=dgl.DGLError("fail to resize the shared memory\nStack trace")),
            GraphStoreError,
            r"Part 0 cannot be loaded \(fail to resize the shared memory\)\. .* check that there is room",
        ),
        (
            Faulty(started=KeyError("no such data")),
            GraphStoreError,
            r"A trainer sent a request that cannot be answered \(KeyError: 'no such data'\)",
        ),
    ],
    ids=["no memory", "a wrong question"],
)
def test_an_error_of_the_server_is_one_message(
    server: Faulty, error: type[Exception], message: str, partition: Partition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.graph_store.store._SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(ServerTransport, "install", lambda self: None)
    monkeypatch.setattr(dgl.distributed, "DistGraphServer", server)
    with pytest.raises(error, match=message):
        serve(partition, servers(tmp_path, "127.0.0.1 1\n127.0.0.1 2\n"), part=0, trainers=1)
