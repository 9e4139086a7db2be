"""DGL's distributed graph store: a server for each part of a graph, and its clients, the trainers."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from pathlib import Path

import filelock

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.partition import Partition, read_partition
from dgl_mutual.data.values.graph_store import GraphStore
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.graph_store.addresses import is_loopback, own_part, read_servers
from dgl_mutual.experiments.graph_store.dgl_parts import GRAPH, book_of, let_dgl_load
from dgl_mutual.experiments.graph_store.messages import GraphStoreError
from dgl_mutual.experiments.graph_store.transport import ServerTransport, TrainerTransport
from dgl_mutual.strategies.base.setting import Divided

#: Number of attempts of a trainer to reach a server, three seconds apart.
_TRIES = 10
_SHARED_MEMORY = Path("/dev/shm")


def serve(partition: Partition, servers: Path, *, part: int, trainers: int, trust_network: bool = False) -> None:
    """Serve one part until all trainers have ended.

    Args:
        trainers: number of trainers on all machines together.
        trust_network: allow an address that other machines can reach.

    Raises:
        UsageError: there is no such part, not one server per part, or, without `trust_network`, an address that others can reach.
        DataError: the part is missing in this machine's folder, or damaged.
        GraphStoreError: this machine already serves a part or does not have the address, or a trainer ended early.
    """
    addresses = read_servers(partition, servers)
    if part >= partition.num_parts:
        raise UsageError(f"There is no part {part}: {partition.folder.name} has the parts 0 ... {partition.num_parts - 1}.")
    if not trust_network and not is_loopback(addresses[part].host):
        raise UsageError(
            f"Other machines can reach {addresses[part]}. Trainers must prove that they have the partition, but nothing is encrypted: "
            "whoever can read or change the traffic of this network can read or change the graph. If you trust all its machines, add "
            "--trust-network."
        )
    partition.check_part(part)
    os.environ["DGL_DIST_MODE"] = "distributed"
    transport = ServerTransport(partition.key, addresses, partition.dataset.num_nodes, partition.nodes[part])
    transport.install()
    let_dgl_load(partition, part)
    with _alone():
        try:
            store = dgl.distributed.DistGraphServer(
                part, str(servers), 1, trainers, str(partition.folder), disable_shared_mem=True, graph_format=["csc"]
            )
        except (dgl.DGLError, OSError, RuntimeError, MemoryError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise GraphStoreError(
                f"Part {part} cannot be loaded ({reason}). Its node data go to shared memory ({_SHARED_MEMORY}): check that there is room."
            ) from error
        try:
            store.start()
        except DglMutualError:
            raise
        except Exception as error:  # DGL may raise anything for a request that it cannot answer
            raise GraphStoreError(f"A trainer sent a request that cannot be answered ({type(error).__name__}: {error}).") from error
        finally:
            transport.finalize_receiver()


@contextmanager
def _alone() -> Iterator[None]:
    """Allow one server per machine, since DGL uses the same names in shared memory for all parts: a second one would overwrite them."""
    if not _SHARED_MEMORY.is_dir():
        yield
        return
    held = filelock.FileLock(_SHARED_MEMORY / "dgl-mutual-serve.lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise GraphStoreError(
            "This machine already serves a part, and DGL's servers share memory by name. Serve each part on its own machine, or in a "
            "container with its own /dev/shm, together with the trainers that read it."
        ) from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def opened(partition: Partition, servers: Path) -> Iterator[Dataset]:
    """Open the dataset of a partition with its store, before the process group is created. If the block fails, the servers are ended.

    Each machine runs the server of its own part. If several parts have addresses of one machine, torchrun's node m takes part m.

    Raises:
        UsageError: there is not one server per part.
        GraphStoreError: a server does not answer.
    """
    addresses = read_servers(partition, servers)
    os.environ["DGL_DIST_MODE"] = "distributed"
    os.environ["DGL_NUM_SERVER"] = "1"
    os.environ.setdefault("DGL_DIST_MAX_TRY_TIMES", str(_TRIES))
    transport = TrainerTransport(partition.key, addresses, partition.dataset.num_nodes, own_part(addresses))
    transport.install()
    try:
        with redirect_stdout(None):
            dgl.distributed.initialize(str(servers))
            graph = dgl.distributed.DistGraph(GRAPH, gpb=book_of(partition, dgl.distributed.rpc.get_machine_id()))
        yield partition.dataset.replaced(store=GraphStore(graph, partition.ids, partition.fingerprint))
        transport.leave()
        with redirect_stdout(None):
            dgl.distributed.exit_client()  # waits for the other trainers, and ends the servers
    except dgl.distributed.rpc.DistConnectError as error:
        raise GraphStoreError(
            f"A server in {str(servers)!r} does not answer ({error}). Start one for each part first, with 'dgl-mutual serve'."
        ) from None
    except BaseException as error:
        with suppress(LookupError, GraphStoreError):  # some may be gone already
            for server in range(partition.num_parts):
                dgl.distributed.rpc.send_request(server, dgl.distributed.rpc.ShutDownRequest(0, True))
        if isinstance(error, dgl.DGLError) and "shared_mem" in str(error):
            raise GraphStoreError(
                f"The node data of this machine's part are not in its shared memory ({_SHARED_MEMORY}). Start 'dgl-mutual serve' and "
                "torchrun on the same machine, or in the same container."
            ) from None
        raise
    finally:
        # At exit, DGL would wait for all trainers, one of which may be gone.
        atexit.unregister(dgl.distributed.exit_client)
        transport.finalize_receiver()


def open_for(config: RunConfig, servers: Path | None, divide: Divided) -> AbstractContextManager[Dataset]:
    """Open the dataset of a run on a partition.

    Raises:
        UsageError: no servers are given, or the run needs the whole graph on one machine.
        DataError, GraphStoreError: see `read_partition` and `opened`.
    """
    if config.distill is not None:
        raise UsageError(f"{config.dataset!r} is a partitioned graph, from which no MLP can be distilled. Train students alone with 'run'.")
    if servers is None:
        raise UsageError(f"{config.dataset!r} is a partitioned graph, which servers hold. Give their addresses with --servers FILE.")
    if config.training.sampler is None or config.noise is not None or config.unlabelled is not None:
        raise UsageError(
            "A partitioned graph is trained on with sampled neighbourhoods, without noise or a pool. Add --sampler neighbor, and leave "
            "out the others."
        )
    if divide == "students":
        raise UsageError(
            "Each process samples its own neighbours from the servers of a partitioned graph, so students in different processes would "
            "train on different samples. Leave out --divide students."
        )
    return opened(read_partition(Path(config.dataset)), servers)
