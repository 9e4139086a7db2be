"""DGL's distributed graph store: a server for each part of a graph, and trainers that ask them."""

from __future__ import annotations

import atexit
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from pathlib import Path

import filelock

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.partition import GRAPH, Partition, read_partition
from dgl_mutual.data.parts import GraphStore
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, DglMutualError, UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.graph_store.messages import GraphStoreError
from dgl_mutual.experiments.graph_store.transport import Address, ServerTransport, TrainerTransport
from dgl_mutual.strategies.setting import Divided
from dgl_mutual.utils.files import read_bytes

#: Times that a trainer tries to reach a server, three seconds apart.
_TRIES = 5
#: Bytes that a servers file may have.
_MOST_SERVERS = 2**20
_SHARED_MEMORY = Path("/dev/shm")


def serve(partition: Partition, servers: Path, *, part: int, trainers: int, trust_network: bool = False) -> None:
    """Serve one part until all trainers, of which there are so many on all machines, have ended.

    Args:
        trust_network: allow an address that other machines can reach.

    Raises:
        UsageError: no such part, not one server a part, or an address that other machines can reach without `trust_network`.
        DataError: the part is not in this machine's folder, or is not what DGL wrote.
        GraphStoreError: this machine serves a part already or has no such address, or a trainer ended early.
    """
    addresses = read_servers(partition, servers)
    if part >= partition.num_parts:
        raise UsageError(f"There is no part {part}: {partition.folder.name} has the parts 0 ... {partition.num_parts - 1}.")
    if not trust_network and not _is_loopback(addresses[part].host):
        raise UsageError(
            f"Other machines can reach {addresses[part]}. Trainers must prove that they have the partition, but nothing is encrypted: who "
            "can read or change what this network carries can read the graph or change it. If only machines that you trust are in this "
            "network, add --trust-network."
        )
    partition.check_part(part)
    os.environ["DGL_DIST_MODE"] = "distributed"
    transport = ServerTransport(partition.key, addresses, partition.dataset.num_nodes, partition.nodes[part])
    transport.install()
    with _alone():
        try:
            store = dgl.distributed.DistGraphServer(
                part, str(servers), 1, trainers, str(partition.store_config), disable_shared_mem=True, graph_format=["csc"]
            )
        except (dgl.DGLError, OSError, RuntimeError, MemoryError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise GraphStoreError(
                f"Part {part} cannot be loaded ({reason}). Its node data go to shared memory ({_SHARED_MEMORY}): see that there is room."
            ) from error
        except DglMutualError:
            raise
        except Exception as error:  # whatever DGL raises where a part is not what it wrote, which its hash cannot tell
            raise DataError(
                f"Part {part} in {str(partition.folder)!r} cannot be loaded ({type(error).__name__}: {error}): it is not a part as "
                "DGL writes it. Create the partition again with 'dgl-mutual partition'."
            ) from error
        try:
            store.start()
        except DglMutualError:
            raise
        except Exception as error:  # whatever DGL raises at a request that it cannot answer
            raise GraphStoreError(f"A trainer sent what cannot be answered ({type(error).__name__}: {error}).") from error
        finally:
            transport.finalize_receiver()


@contextmanager
def _alone() -> Iterator[None]:
    """DGL puts node data into a machine's shared memory by the same names for every part: a second server would overwrite the first's."""
    if not _SHARED_MEMORY.is_dir():
        yield
        return
    held = filelock.FileLock(_SHARED_MEMORY / "dgl-mutual-serve.lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise GraphStoreError(
            "This machine serves a part already, and DGL's servers share memory by name. Serve each part on a machine of its own, or in a "
            "container that has a /dev/shm of its own."
        ) from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def opened(partition: Partition, servers: Path) -> Iterator[Dataset]:
    """The dataset of a partition with its store, to be had before other processes are joined. If the block fails, servers are told to end.

    Each machine runs the server of its own part. Where all servers have one address, torchrun's node m is taken for the one with part m.

    Raises:
        UsageError: not one server a part.
        GraphStoreError: a server does not answer.
    """
    addresses = read_servers(partition, servers)
    os.environ["DGL_DIST_MODE"] = "distributed"
    os.environ["DGL_NUM_SERVER"] = "1"
    os.environ.setdefault("DGL_DIST_MAX_TRY_TIMES", str(_TRIES))
    transport = TrainerTransport(partition.key, addresses, partition.dataset.num_nodes, _own_part(addresses))
    transport.install()
    try:
        with redirect_stdout(None):
            dgl.distributed.initialize(str(servers))
            book, *_ = dgl.distributed.partition.load_partition_book(str(partition.store_config), dgl.distributed.rpc.get_machine_id())
            graph = dgl.distributed.DistGraph(GRAPH, gpb=book)
        yield partition.dataset.replaced(store=GraphStore(graph, partition.ids, partition.fingerprint))
        transport.leave()
        with redirect_stdout(None):
            dgl.distributed.exit_client()  # waits for the other trainers, and ends the servers
    except dgl.distributed.rpc.DistConnectError as error:
        raise GraphStoreError(
            f"A server in {str(servers)!r} does not answer ({error}). Start one for each part first, with 'dgl-mutual serve'."
        ) from None
    except BaseException:
        with suppress(LookupError, GraphStoreError):  # some may be gone already
            for server in range(partition.num_parts):
                dgl.distributed.rpc.send_request(server, dgl.distributed.rpc.ShutDownRequest(0, True))
        raise
    finally:
        # DGL would wait for all trainers when the process ends, and one of them may be gone.
        atexit.unregister(dgl.distributed.exit_client)
        transport.finalize_receiver()


def open_for(config: RunConfig, servers: Path | None, divide: Divided) -> AbstractContextManager[Dataset]:
    """The dataset of a run on a partition.

    Raises:
        UsageError: no servers are named, or the run needs the graph in one place.
        DataError, GraphStoreError: see `read_partition` and `opened`.
    """
    if servers is None:
        raise UsageError(f"{config.dataset!r} is a graph in parts, which servers hold. Say where they are with --servers FILE.")
    if config.training.sampler is None or config.noise is not None or config.unlabelled is not None or config.distill is not None:
        raise UsageError(
            "A graph in parts is trained on by samples of neighbourhoods, without noise, a pool, or an MLP after it. Add "
            "--sampler neighbor, and leave out the others."
        )
    if divide == "students":
        raise UsageError(
            "Each process draws neighbours of its own from the servers of a graph in parts, so students in several processes would not run "
            "on the same. Leave out --divide students."
        )
    return opened(read_partition(Path(config.dataset)), servers)


def read_servers(partition: Partition, servers: Path) -> list[Address]:
    """The address of each part's server, from a file with a line 'ADDRESS PORT' for each part.

    Raises:
        UsageError: it cannot be read, or has other lines.
    """
    try:
        lines = [line for line in read_bytes(servers, _MOST_SERVERS).decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(servers)!r} cannot be read ({error}). It has a line 'ADDRESS PORT' for each part.") from None
    if len(lines) != partition.num_parts:
        raise UsageError(
            f"{str(servers)!r} has {len(lines)} servers, and there are {partition.num_parts} parts. Give each a line 'ADDRESS PORT'."
        )
    return [_address(line, servers) for line in lines]


def _address(line: str, servers: Path) -> Address:
    host, _, port = line.strip().partition(" ")
    port = port.strip()
    if not (_is_host(host) and port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 2**16):
        raise UsageError(f"{str(servers)!r} has the line {line.strip()[:80]!r}. A line is 'ADDRESS PORT', for example '10.0.0.7 30050'.")
    return Address(host, int(port))


def _is_host(text: str) -> bool:
    """Whether a text can be an address or a name; Python's resolver raises ValueError for others."""
    try:
        return text.isprintable() and 0 < len(text.encode("idna")) <= 255
    except UnicodeError:  # a part of more than 63 characters, or of none
        return False


def _is_loopback(host: str) -> bool:
    """Whether this machine alone can reach a socket that listens there."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        raise UsageError(f"The servers file names {host!r}, which is neither an address nor a name that this machine knows.") from None
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _own_part(addresses: Sequence[Address]) -> int:
    """The part that this machine serves: that with an address of its own, or, where all have one address, that of torchrun's node.

    Raises:
        GraphStoreError: there is none.
    """
    hosts = [address.host for address in addresses]
    if len(set(hosts)) < len(hosts):
        node = int(os.environ.get("GROUP_RANK", "0"))
        if node < len(hosts):
            return node
    for part, host in enumerate(hosts):
        with suppress(OSError), socket.socket(socket.getaddrinfo(host, None)[0][0]) as probe:
            probe.bind((host, 0))
            return part
    raise GraphStoreError(
        f"The servers file has no address of this machine ({', '.join(hosts)}). Each machine runs the server of one part, and its trainers "
        "read that part from its memory."
    )
