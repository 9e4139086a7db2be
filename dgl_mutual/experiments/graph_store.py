"""DGL's distributed graph store: a server for each part of a graph, and trainers that ask them."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import dgl
import filelock
from dgl.distributed import rpc, rpc_client
from dgl.distributed.partition import load_partition_book

from dgl_mutual.data.dataset import Dataset, GraphStore
from dgl_mutual.data.partition import GRAPH, Partition, read_partition
from dgl_mutual.errors import DataError, DglMutualError, UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.strategies.base import Divided

#: Times that a trainer tries to reach a server, three seconds apart.
_TRIES = 5
#: Seconds in which what is to be sent has left.
_FLUSH = 1
_SHARED_MEMORY = Path("/dev/shm")


class GraphStoreError(DglMutualError):
    """A server of a graph store cannot be reached."""


def serve(partition: Partition, servers: Path, *, part: int, trainers: int) -> None:
    """Serve one part until all trainers, of which there are so many on all machines, have ended.

    Raises:
        UsageError: no such part, or not one server a part.
        DataError: the part is not in this machine's folder.
        GraphStoreError: this machine serves a part already.
    """
    _addresses(partition, servers)
    if part >= partition.num_parts:
        raise UsageError(f"There is no part {part}: {partition.folder.name} has the parts 0 ... {partition.num_parts - 1}.")
    if not (partition.folder / f"part{part}" / "graph.dgl").is_file():
        raise DataError(f"{str(partition.folder)!r} has no part{part}. Copy it here from where the partition was made.")
    os.environ["DGL_DIST_MODE"] = "distributed"
    with _alone():
        store = dgl.distributed.DistGraphServer(
            part, str(servers), 1, trainers, str(partition.store_config), disable_shared_mem=True, graph_format=["csc"]
        )
        store.start()


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
    addresses = _addresses(partition, servers)
    os.environ["DGL_DIST_MODE"] = "distributed"
    os.environ["DGL_NUM_SERVER"] = "1"
    os.environ.setdefault("DGL_DIST_MAX_TRY_TIMES", str(_TRIES))
    if len(set(addresses)) < len(addresses):
        # DGL takes this machine for the first with an address of its own, which does not tell containers of one host apart.
        rpc_client.get_local_machine_id = lambda book: int(os.environ.get("GROUP_RANK", "0"))
    try:
        with redirect_stdout(None):
            dgl.distributed.initialize(str(servers))
            book, *_ = load_partition_book(str(partition.store_config), rpc.get_machine_id())
            graph = dgl.distributed.DistGraph(GRAPH, gpb=book)
    except rpc.DistConnectError as error:
        raise GraphStoreError(
            f"A server in {str(servers)!r} does not answer ({error}). Start one for each part first, with 'dgl-mutual serve'."
        ) from None
    try:
        yield replace(partition.dataset, store=GraphStore(graph, partition.ids, partition.fingerprint))
    except BaseException:
        # When a process ends, DGL waits for all trainers before it ends the servers, and one of them may be gone.
        atexit.unregister(dgl.distributed.exit_client)
        for server in range(partition.num_parts):
            rpc.send_request(server, rpc.ShutDownRequest(0, True))
        time.sleep(_FLUSH)
        raise


def open_for(config: RunConfig, servers: Path | None, divide: Divided) -> AbstractContextManager[Dataset]:
    """The dataset of a run on a partition.

    Raises:
        UsageError: no servers are named, or the run needs the graph in one place.
        DataError, GraphStoreError: see `read_partition` and `opened`.
    """
    if servers is None:
        raise UsageError(f"{config.dataset!r} is a graph in parts, which servers hold. Say where they are with --servers FILE.")
    if config.training.sampler is None or config.noise is not None or config.distill is not None:
        raise UsageError(
            "A graph in parts is trained on by samples of neighbourhoods, without noise and without an MLP after it. Add "
            "--sampler neighbor, and leave out the others."
        )
    if divide == "students":
        raise UsageError(
            "Each process draws neighbours of its own from the servers of a graph in parts, so students in several processes would not run "
            "on the same. Leave out --divide students."
        )
    return opened(read_partition(Path(config.dataset)), servers)


def _addresses(partition: Partition, servers: Path) -> list[str]:
    """The address of each part's server."""
    try:
        lines = [line for line in servers.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(servers)!r} cannot be read ({error}). It has a line 'ADDRESS PORT' for each part.") from None
    if len(lines) != partition.num_parts:
        raise UsageError(
            f"{str(servers)!r} has {len(lines)} servers, and there are {partition.num_parts} parts. Give each a line 'ADDRESS PORT'."
        )
    return [line.split()[0] for line in lines]
