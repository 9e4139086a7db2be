"""The connections of a partitioned graph: DGL's requests and responses, sent as plain numbers and text.

`dgl.distributed` unpickles everything that is sent to its open ports, and its C++ reader ends the process at a malformed message. So its
functions for sending and receiving are replaced by those of a `ServerTransport` or a `TrainerTransport`:

- only servers listen; they answer on the connections that trainers have opened;
- both ends prove that they have the same partition (HMAC-SHA256 with the key in its manifest) before a message is read;
- a message is a JSON header, validated by a schema, and the bytes of tensors; it names no class or function;
- only requests of a training are answered, for nodes of the part. None of them changes stored data.

Nothing is encrypted.

`multiprocessing.connection` also authenticates by a key, but with HMAC-MD5 before Python 3.12, and `Listener.accept` waits without a limit
for the proof of one connection before it accepts the next: a silent client would block all trainers.
"""

from __future__ import annotations

import logging
import queue
import secrets
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.experiments.graph_store.addresses import Address
from dgl_mutual.experiments.graph_store.messages import (
    NAME,
    RECEIVED_NODES,
    REQUESTED_NODES,
    Connection,
    GraphStoreError,
    Message,
    MessageError,
    admit,
    check_nodes,
    from_payload,
    introduce,
    to_payload,
)

dist_graph, kvstore, rpc, rpc_client = (getattr(dgl.distributed, name) for name in ("dist_graph", "kvstore", "rpc", "rpc_client"))

#: Timeout in seconds for the authentication of a connection, and for the attempts of a trainer.
HANDSHAKE_SECONDS = 10
#: Maximum number of concurrent handshakes. A further one closes the oldest connection, so that silent clients block no trainer.
MAX_HANDSHAKES = 128


@dataclass(frozen=True)
class _Ended:
    """The end of a connection; `reason` is empty if the other end announced it."""

    name: str
    reason: str


class Transport(ABC):
    """The connections of one process, which replace DGL's sender and receiver.

    Methods without a docstring replace functions of the same name in `dgl.distributed.rpc`, whose arguments differ between releases.
    """

    def __init__(self, key: bytes, addresses: Sequence[Address], num_nodes: int) -> None:
        self._key = key
        self._addresses = tuple(addresses)
        self._nodes = range(num_nodes)
        self._inbox: queue.SimpleQueue[Message | _Ended] = queue.SimpleQueue()
        self._connections: dict[int, Connection] = {}
        #: All connections of this process.
        self._peers: Mapping[Any, Connection] = self._connections
        self._readers: list[threading.Thread] = []

    def install(self) -> None:
        """Make DGL in this process send and receive through this transport."""
        for name in (
            "finalize_receiver",
            "wait_for_senders",
            "connect_receiver",
            "connect_receiver_finalize",
            "send_rpc_message",
            "recv_rpc_message",
            "read_ip_config",
        ):
            setattr(rpc, name, getattr(self, name))
        rpc.create_sender = rpc.create_receiver = rpc.finalize_sender = lambda *_: None
        rpc.RPCMessage = Message
        rpc.serialize_to_payload = to_payload
        rpc.deserialize_from_payload = from_payload
        rpc.fast_pull = fast_pull

    def finalize_receiver(self) -> None:
        for connection in self._open_connections():
            connection.close()
        # torch aborts the process if a thread still holds a tensor at exit.
        for reader in self._readers:
            reader.join()

    def connect_receiver_finalize(self, *_: object) -> bool:
        return True

    @abstractmethod
    def wait_for_senders(self, host: str, port: int, number: int, *_: object, **__: object) -> None: ...

    @abstractmethod
    def connect_receiver(self, host: str, port: int, receiver: int, group: int = -1) -> bool: ...

    def read_ip_config(self, *_: object) -> dict[int, list[Any]]:
        return {part: [part, address.host, address.port, 1] for part, address in enumerate(self._addresses)}

    def send_rpc_message(self, message: Message, target: int) -> None:
        connection = self._connections[target]
        try:
            connection.send(message)
        except OSError as error:
            raise self._lost(_Ended(connection.name, connection.end_reason or str(error))) from None

    def recv_rpc_message(self, timeout: int = 0) -> Message | None:
        while True:
            try:
                item = self._inbox.get(timeout=timeout / 1000 or None)
            except queue.Empty:
                return None
            if isinstance(item, Message):
                return item
            self._ended(item)

    def _open_connections(self) -> list[Connection]:
        return [connection for connection in self._peers.values() if connection.open]

    @abstractmethod
    def _ended(self, end: _Ended) -> None:
        """Raise GraphStoreError if no message can arrive after this end."""

    @abstractmethod
    def _lost(self, end: _Ended) -> GraphStoreError: ...

    @abstractmethod
    def _check(self, message: Message) -> None:
        """Raise MessageError for a message that this process does not expect."""

    def _start_reading(self, connection: Connection) -> None:
        reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, connection: Connection) -> None:
        try:
            while (message := connection.receive()) is not None:
                self._check(message)
                self._inbox.put(message)
            reason = ""
        except MessageError as error:
            reason = f"it sent {error}"
        except (OSError, EOFError) as error:
            reason = str(error) or "it closed the connection"
        if connection.open:
            connection.end_reason = reason
            connection.close()
            self._inbox.put(_Ended(connection.name, reason))


class ServerTransport(Transport):
    """The connections of the server of one part.

    Args:
        nodes: indices of the nodes of this part.
    """

    def __init__(self, key: bytes, addresses: Sequence[Address], num_nodes: int, nodes: range) -> None:
        super().__init__(key, addresses, num_nodes)
        self._own_nodes = nodes
        self._trainers: dict[str, Connection] = {}
        self._peers = self._trainers  # including trainers that have not registered yet
        self._left: set[str] = set()

    def wait_for_senders(self, host: str, port: int, number: int, *_: object, **__: object) -> None:
        arrived: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        with listen(Address(host, port)) as listener:
            listener.settimeout(0.2)
            unproved: dict[socket.socket, bool] = {}  # the thread that removes a connection, atomically, decides on it
            while len(self._trainers) < number:
                with suppress(TimeoutError):
                    sock, peer = listener.accept()
                    if len(unproved) >= MAX_HANDSHAKES:
                        _give_up(unproved, next(iter(list(unproved)), sock))
                    unproved[sock] = True
                    threading.Thread(target=self._greet, args=(sock, peer[0], arrived, unproved), daemon=True).start()
                while not arrived.empty():
                    connection = arrived.get()
                    self._trainers[connection.name] = connection
        for connection in self._trainers.values():
            self._start_reading(connection)

    def connect_receiver(self, host: str, port: int, receiver: int, group: int = -1) -> bool:
        if host not in self._trainers:  # a trainer's host is its name
            raise GraphStoreError("A trainer registered under another name than that of its handshake.")
        self._connections[rpc.register_client(receiver, group)] = self._trainers[host]
        return True

    def _greet(self, sock: socket.socket, peer: str, arrived: queue.SimpleQueue[Connection], unproved: dict[socket.socket, bool]) -> None:
        fault = "it ended, or took too long, before it had proved that it is a trainer"
        try:
            name = admit(sock, self._key, HANDSHAKE_SECONDS)
            if unproved.pop(sock, False):
                arrived.put(Connection(sock, name))
                return
        except MessageError:
            fault = "it is not a trainer on this partition"
        except (OSError, EOFError):
            pass
        unproved.pop(sock, False)
        sock.close()
        logging.getLogger(__name__).warning("A connection from %s was closed: %s.", peer, fault)

    def _ended(self, end: _Ended) -> None:
        self._left.add(end.name)
        # Other connections that are closed do not count yet: their last messages may wait in the inbox behind this end.
        if end.reason or self._left == self._trainers.keys():
            raise self._lost(end)

    def _lost(self, end: _Ended) -> GraphStoreError:
        reason = f" ({end.reason})" if end.reason else ""
        return GraphStoreError(f"A trainer ended before the training was over{reason}. Start servers and trainers again.")

    def _check(self, message: Message) -> None:
        check_nodes(message, REQUESTED_NODES, self._own_nodes)


class TrainerTransport(Transport):
    """The connections of a trainer to the servers of all parts.

    Args:
        part: the part of this machine; None if no server has an address of this machine.
    """

    def __init__(self, key: bytes, addresses: Sequence[Address], num_nodes: int, part: int | None) -> None:
        super().__init__(key, addresses, num_nodes)
        self._part = part
        self._name = secrets.token_hex(NAME // 2)
        self._leaving = False

    def install(self) -> None:
        super().install()
        rpc.register_sig_handler = lambda: None  # DGL's handler would end the process at Ctrl-C without our messages and files
        rpc_client.get_local_usable_addr = lambda _: f"{self._name}:0"
        rpc_client.get_local_machine_id = lambda _: self._part
        # Servers share nothing under these names, but other users of this machine could.
        dist_graph.get_shared_mem_partition_book = lambda *_: None
        dist_graph._get_graph_from_shared_mem = lambda *_: None

    def leave(self) -> None:
        """Wait only for the first server from now on. It tells all trainers when all are done, and other servers may end before that."""
        self._leaving = True

    def wait_for_senders(self, host: str, port: int, number: int, *_: object, **__: object) -> None:
        for connection in self._connections.values():
            self._start_reading(connection)

    def connect_receiver(self, host: str, port: int, receiver: int, group: int = -1) -> bool:
        address = Address(host, int(port))
        limit = time.monotonic() + HANDSHAKE_SECONDS
        while True:
            try:
                sock = socket.create_connection((address.host, address.port), timeout=HANDSHAKE_SECONDS)
            except OSError:
                return False  # DGL tries again after three seconds
            try:
                introduce(sock, self._key, self._name, HANDSHAKE_SECONDS)
            except MessageError:
                sock.close()
                raise GraphStoreError(
                    f"The process at {address} does not serve this partition. Copy the folder of one 'dgl-mutual partition' to all "
                    "machines, and check the servers file."
                ) from None
            except (OSError, EOFError) as error:
                sock.close()
                if time.monotonic() > limit:
                    raise GraphStoreError(
                        f"The process at {address} closed the connection, or was silent, for {HANDSHAKE_SECONDS} seconds "
                        f"({str(error) or type(error).__name__}). Other connections may keep it busy: see the server's output, let only "
                        "your machines reach its port, and check the servers file."
                    ) from None
                time.sleep(0.1)
            else:
                self._connections[receiver] = Connection(sock, str(address))
                return True

    def _ended(self, end: _Ended) -> None:
        if not self._leaving or end.reason or end.name == str(self._addresses[0]):
            raise self._lost(end)

    def _lost(self, end: _Ended) -> GraphStoreError:
        reason = f" ({end.reason})" if end.reason else ""
        return GraphStoreError(f"The server at {end.name} has ended{reason}. See its last output, and start servers and trainers again.")

    def _check(self, message: Message) -> None:
        check_nodes(message, RECEIVED_NODES, self._nodes)


def listen(address: Address) -> socket.socket:
    """Open a socket that only listens at this address.

    Raises:
        GraphStoreError: the address is not one of this machine, or is in use.
    """
    try:
        family, _, _, _, resolved = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(resolved[:2], family=family)
    except OSError as error:
        raise GraphStoreError(
            f"Cannot listen at {address}: {error.strerror or error}. The servers file must have an address of this machine for this part, "
            "and a free port."
        ) from None


def _give_up(unproved: dict[socket.socket, bool], sock: socket.socket) -> None:
    """Close a connection that is not authenticated yet, so that its reader finds the end."""
    if unproved.pop(sock, False):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def fast_pull(
    name: str,
    ids: Tensor,
    parts: Tensor,
    service_id: int,
    num_machines: int,
    num_servers: int,
    machine: int,
    client: int,
    own: Tensor,
    policy: Any,
) -> Tensor:
    """Get rows of node data: those of this machine's part from its memory, others from their servers, with requests in parallel.

    Raises:
        GraphStoreError: a server sends another number of rows or columns, or another type.
    """
    asked = {part: (parts == part).nonzero().squeeze(1) for part in range(num_machines)}
    others = [part for part, places in asked.items() if part != machine and len(places)]
    pending = rpc.send_requests_to_machine([(part, kvstore.PullRequest(name, ids[asked[part]])) for part in others])
    result = own.new_empty((len(ids), *own.shape[1:]))
    if len(asked[machine]):
        result[asked[machine]] = own[policy.to_local(ids[asked[machine]])]
    for part, response in zip(others, rpc.recv_responses(pending) if others else [], strict=True):
        rows = response.data_tensor
        if rows.dtype != own.dtype or rows.shape != (len(asked[part]), *own.shape[1:]):
            raise GraphStoreError(
                f"The server of part {part} sent {tuple(rows.shape)} {rows.dtype} for {len(asked[part])} rows of {name!r}."
            )
        result[asked[part]] = rows
    return result
