from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from dgl.distributed import kvstore, rpc
from dgl.distributed.graph_services import SAMPLING_SERVICE_ID

from dgl_mutual.experiments.graph_store import transport as graph_transport
from dgl_mutual.experiments.graph_store.addresses import Address
from dgl_mutual.experiments.graph_store.messages import GraphStoreError, Message
from dgl_mutual.experiments.graph_store.transport import ServerTransport, TrainerTransport, fast_pull

KEY = bytes(32)
Ends = tuple[ServerTransport, TrainerTransport]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", free_port())


@pytest.fixture
def server(address: Address) -> Iterator[ServerTransport]:
    rpc.reset()
    server = ServerTransport(KEY, [address], 10, range(10))
    yield server
    server.finalize_receiver()


@pytest.fixture
def ends(server: ServerTransport, address: Address) -> Iterator[Ends]:
    """A server and a trainer that have found each other."""
    waiting = threading.Thread(target=server.wait_for_senders, args=(address.host, address.port, 1))
    waiting.start()
    trainer = TrainerTransport(KEY, [address], 10, 0)
    connect(trainer, address)
    waiting.join()
    (name,) = server._trainers
    server.connect_receiver(name, 0, 0, 0)
    trainer.wait_for_senders("", 0, 1)
    yield server, trainer
    trainer.finalize_receiver()


def connect(trainer: TrainerTransport, address: Address, part: int = 0) -> None:
    for _ in range(100):
        if trainer.connect_receiver(address.host, address.port, part):
            return
        threading.Event().wait(0.05)
    raise AssertionError("the server does not answer")


def knock(address: Address, data: bytes) -> bytes:
    """Send something to the server; what it answers after its greeting, until it closes the connection."""
    for _ in range(100):
        try:
            sock = socket.create_connection((address.host, address.port), timeout=5)
            break
        except OSError:
            threading.Event().wait(0.05)
    with sock:
        received = b""
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(1000):
                received += more
        except OSError:  # the server has closed it, with bytes that it has not read, or before all were sent
            pass
    return received[48:]


def request(nodes: list[int], service: int = SAMPLING_SERVICE_ID) -> Message:
    return Message(service, 7, 0, 0, [], [torch.tensor(nodes)])


def test_a_connection_that_is_no_trainer_takes_no_place(
    server: ServerTransport, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = threading.Thread(target=server.wait_for_senders, args=(address.host, address.port, 1))
    waiting.start()
    for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10, b"", b"\xff" * 8, bytes(96), (2**62).to_bytes(8, "little")):
        assert knock(address, data) in (b"", bytes(32))  # never a proof
    silent = socket.create_connection((address.host, address.port))
    assert waiting.is_alive()
    trainer = TrainerTransport(KEY, [address], 10, 0)
    connect(trainer, address)
    waiting.join(timeout=10)
    silent.close()
    trainer.finalize_receiver()
    assert not waiting.is_alive()
    assert list(server._trainers) == [trainer._name]
    assert "A connection from 127.0.0.1 was closed" in caplog.text
    with pytest.raises(OSError, match="refused"):  # once all trainers are there, nobody listens
        socket.create_connection((address.host, address.port))


def test_a_trainer_with_another_partition_is_told(server: ServerTransport, address: Address) -> None:
    waiting = threading.Thread(target=server.wait_for_senders, args=(address.host, address.port, 1))
    waiting.start()
    with pytest.raises(GraphStoreError, match="does not serve this partition"):
        connect(TrainerTransport(KEY[1:] + b"x", [address], 10, 0), address)
    trainer = TrainerTransport(KEY, [address], 10, 0)
    connect(trainer, address)
    waiting.join()
    trainer.finalize_receiver()


def test_a_slow_connection_is_closed(server: ServerTransport, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_transport, "HANDSHAKE_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    unproved = {theirs: True}
    server._greet(theirs, "here", graph_transport.queue.SimpleQueue(), unproved)  # returns although nothing is sent
    assert not unproved
    ours.close()


def test_silent_connections_keep_no_trainer_out(
    server: ServerTransport, address: Address, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graph_transport, "MAX_HANDSHAKES", 3)
    waiting = threading.Thread(target=server.wait_for_senders, args=(address.host, address.port, 1))
    waiting.start()
    knock(address, b"")
    silent = [socket.create_connection((address.host, address.port)) for _ in range(8)]
    trainer = TrainerTransport(KEY, [address], 10, 0)
    connect(trainer, address)
    waiting.join(timeout=5)
    assert not waiting.is_alive() and list(server._trainers) == [trainer._name]
    assert "it ended, or took too long, before it had proved that it is a trainer" in caplog.text
    for sock in silent[:5]:  # the oldest of them had to go
        sock.settimeout(5)
        with suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
    for sock in silent:
        sock.close()
    trainer.finalize_receiver()


def test_a_trainer_tries_again_until_its_limit(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_transport, "HANDSHAKE_SECONDS", 0.5)
    accepted: list[socket.socket] = []
    with socket.create_server((address.host, address.port)) as listener:

        def close_all() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])
                    accepted[-1].close()

        closing = threading.Thread(target=close_all)
        closing.start()
        with pytest.raises(GraphStoreError, match=r"closed the connection, or was silent, for 0\.5 seconds .*let only your machines"):
            TrainerTransport(KEY, [address], 10, 0).connect_receiver(address.host, address.port, 0)
        listener.shutdown(socket.SHUT_RDWR)
        closing.join()
    assert len(accepted) > 1


def test_requests_and_responses_use_one_connection(ends: Ends) -> None:
    server, trainer = ends
    trainer.send_rpc_message(request([0, 9]), 0)
    received = server.recv_rpc_message(5000)
    assert received is not None
    assert received.tensors[0].tolist() == [0, 9]
    server.send_rpc_message(Message(SAMPLING_SERVICE_ID, 7, 0, 0, [], [torch.tensor([1]), torch.tensor([2]), torch.tensor([3])]), 0)
    answer = trainer.recv_rpc_message(5000)
    assert answer is not None
    assert [tensor.item() for tensor in answer.tensors] == [1, 2, 3]
    assert server.recv_rpc_message(1) is None


@pytest.mark.parametrize("bad", [request([10]), request([0], service=31415)])
def test_a_wrong_request_ends_the_server_with_a_message(ends: Ends, bad: Message) -> None:
    server, trainer = ends
    trainer.send_rpc_message(bad, 0)
    with pytest.raises(GraphStoreError, match=r"A trainer ended before the training was over \(it sent"):
        server.recv_rpc_message(5000)
    with pytest.raises(GraphStoreError, match=r"The server at 127\.0\.0\.1:\d+ has ended"):
        trainer.recv_rpc_message(5000)


def test_a_wrong_response_ends_the_trainer_with_a_message(ends: Ends) -> None:
    server, trainer = ends
    server.send_rpc_message(Message(SAMPLING_SERVICE_ID, 7, 0, 0, [], [torch.tensor([-1]), torch.tensor([0])]), 0)
    with pytest.raises(GraphStoreError, match=r"has ended \(it sent SamplingRequest for nodes beyond 0 \.\.\. 9"):
        trainer.recv_rpc_message(5000)


def test_a_trainer_that_vanishes_ends_the_server(ends: Ends) -> None:
    server, trainer = ends
    trainer._connections[0]._socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(GraphStoreError, match="A trainer ended"):
        server.recv_rpc_message(5000)


def test_no_reader_is_left_when_a_process_ends(ends: Ends) -> None:
    readers = [reader for end in ends for reader in end._readers]
    assert [reader.is_alive() for reader in readers] == [True, True]
    for end in ends:
        end.finalize_receiver()
    assert [reader.is_alive() for reader in readers] == [False, False]


def test_a_message_is_read_though_all_trainers_have_left_since(server: ServerTransport, address: Address) -> None:
    waiting = threading.Thread(target=server.wait_for_senders, args=(address.host, address.port, 2))
    waiting.start()
    first, second = (TrainerTransport(KEY, [address], 10, 0) for _ in range(2))
    for trainer in (first, second):
        connect(trainer, address)
        trainer.wait_for_senders("", 0, 1)
    waiting.join()
    first.finalize_receiver()
    while len(server._open_connections()) == 2:
        threading.Event().wait(0.01)
    second.send_rpc_message(request([1, 2]), 0)
    second.finalize_receiver()
    while server._open_connections():
        threading.Event().wait(0.01)
    message = server.recv_rpc_message(5000)
    assert message is not None
    assert message.tensors[0].tolist() == [1, 2]
    with pytest.raises(GraphStoreError, match="A trainer ended"):
        server.recv_rpc_message(5000)


@pytest.fixture
def of_two_servers(server: ServerTransport, address: Address) -> Iterator[Ends]:
    """The first of two servers, and a trainer that the second has told that it ends."""
    other = Address("127.0.0.1", free_port())
    servers = {address: server, other: ServerTransport(KEY, [address, other], 10, range(10))}
    trainer = TrainerTransport(KEY, [address, other], 10, 0)
    for part, (at, one) in enumerate(servers.items()):
        waiting = threading.Thread(target=one.wait_for_senders, args=(at.host, at.port, 1))
        waiting.start()
        connect(trainer, at, part)
        waiting.join()
    (name,) = server._trainers
    server.connect_receiver(name, 0, 0, 0)
    trainer.wait_for_senders("", 0, 2)
    servers[other].finalize_receiver()
    while trainer._connections[1].open:
        threading.Event().wait(0.01)
    yield server, trainer
    trainer.finalize_receiver()


def test_a_server_that_ends_during_training_ends_the_trainer(of_two_servers: Ends) -> None:
    _, trainer = of_two_servers
    with pytest.raises(GraphStoreError, match="has ended"):
        trainer.recv_rpc_message(5000)


def test_a_trainer_that_leaves_hears_the_first_server_though_another_has_ended(of_two_servers: Ends) -> None:
    server, trainer = of_two_servers
    trainer.leave()
    server.send_rpc_message(Message(SAMPLING_SERVICE_ID, 7, 0, 0, [], [torch.tensor([1]), torch.tensor([2]), torch.tensor([3])]), 0)
    assert trainer.recv_rpc_message(5000) is not None
    server.finalize_receiver()
    with pytest.raises(GraphStoreError, match="has ended"):  # nothing can come any more
        trainer.recv_rpc_message(5000)


def test_an_address_of_another_machine_is_one_message() -> None:
    with pytest.raises(GraphStoreError, match=r"Cannot listen at 198\.51\.100\.1:4000: .* an address of this machine"):
        graph_transport.listen(Address("198.51.100.1", 4000))
    with pytest.raises(GraphStoreError, match="Cannot listen at no-such-host"):
        graph_transport.listen(Address("no-such-host.invalid", 4000))


class Policy:
    """Part 0 holds even nodes, part 1 odd ones."""

    def to_local(self, ids: torch.Tensor) -> torch.Tensor:
        return ids // 2


def pull(monkeypatch: pytest.MonkeyPatch, features: torch.Tensor, ids: torch.Tensor, answer: torch.Tensor | None = None) -> torch.Tensor:
    asked: list[kvstore.PullRequest] = []

    def send(requests: list[tuple[int, kvstore.PullRequest]]) -> object:
        assert [part for part, _ in requests] == [1]
        asked.extend(request for _, request in requests)
        return "pending"

    def receive(pending: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(data_tensor=features[one.id_tensor] if answer is None else answer) for one in asked]

    monkeypatch.setattr(rpc, "send_requests_to_machine", send if (ids % 2).any() else lambda requests: {})
    monkeypatch.setattr(rpc, "recv_responses", receive)
    return fast_pull("feat", ids, ids % 2, kvstore.KVSTORE_PULL, 2, 1, 0, 0, features[::2], Policy())


@pytest.mark.parametrize("ids", [[3, 0, 5, 5, 8, 1], [2, 4], [7], []])
def test_pulled_rows_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    features = torch.rand(10, 3)
    numbers = torch.tensor(ids, dtype=torch.int64)
    assert torch.equal(pull(monkeypatch, features, numbers), features[numbers])


@pytest.mark.parametrize("answer", [torch.zeros(1, 3), torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.float64)])
def test_rows_of_another_shape_are_refused(monkeypatch: pytest.MonkeyPatch, answer: torch.Tensor) -> None:
    with pytest.raises(GraphStoreError, match="The server of part 1 sent"):
        pull(monkeypatch, torch.rand(10, 3), torch.tensor([1, 3]), answer)
