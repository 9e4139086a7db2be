from __future__ import annotations

import hmac
import json
import pickle
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from dgl.distributed import kvstore, rpc
from dgl.distributed.graph_services import SAMPLING_SERVICE_ID

from dgl_mutual.experiments.graph_store.messages import (
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

KEY = bytes(range(32))
NAME = "0123456789abcdef" * 2
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    other, _ = listener.accept()
    listener.close()
    yield one, other
    one.close()
    other.close()


def header(*more: object, service: object = 1, data: object = (), tensors: object = ()) -> bytes:
    encoded = json.dumps([service, 0, 0, 0, data, tensors, 0, *more]).encode()
    return struct.pack("!I", len(encoded)) + encoded


def test_messages_arrive_as_they_were_sent(pair: Pair) -> None:
    tensors = [torch.arange(6).view(2, 3), torch.zeros(0, 4), torch.tensor(2.5), torch.rand(3).half()]
    sent = Message(6657, 2**40, 3, 1, [[0, "name"], [1, {"tuple": [1, None]}]], tensors, 2)
    sender, receiver = (Connection(sock, NAME) for sock in pair)
    sender.send(sent)
    received = receiver.receive()
    assert received is not None
    assert (received.service_id, received.msg_seq, received.client_id, received.server_id) == (6657, 2**40, 3, 1)
    assert (received.data, received.group_id) == (sent.data, 2)
    for one, other in zip(received.tensors, tensors, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    sender.close()
    assert receiver.receive() is None


@pytest.mark.parametrize(
    "state",
    [
        None,
        "a name",
        (torch.arange(3), "in", None, False, 10),
        torch.Size([3, 4]),
        {"feat": (torch.Size([3]), "float32", "node~_N")},
        ({"default": {(0, 1), (1, 0)}}, ["text", 2.5]),
    ],
)
def test_states_of_requests_come_back(state: object) -> None:
    class Request:
        def __getstate__(self) -> object:
            return state

        def __setstate__(self, state: object) -> None:
            self.state = state

    data, tensors = to_payload(Request())
    back = from_payload(Request, json.loads(json.dumps(data)), tensors).state
    assert str(back) == str(state).replace("torch.Size([3])", "(3,)").replace("torch.Size([3, 4])", "(3, 4)")


def test_only_plain_values_are_sent() -> None:
    with pytest.raises(TypeError, match="cannot hold a function"):
        to_payload(rpc.ClientRegisterRequest(to_payload))


class Harmful:
    """Unpickled, it would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.file,)


def test_a_pickle_is_not_read(pair: Pair, tmp_path: Path) -> None:
    harmful = pickle.dumps(([0], [Harmful(tmp_path / "made")]))
    pair[0].sendall(struct.pack("!I", len(harmful)) + harmful)
    with pytest.raises(MessageError, match="a header with"):
        Connection(pair[1], NAME).receive()
    with pytest.raises(GraphStoreError, match="sent a ClientRegisterRequest that cannot be read"):
        from_payload(rpc.ClientRegisterRequest, harmful, [])  # type: ignore[arg-type]  # what DGL's own messages hold
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a header of 1195725856 bytes"),
        (struct.pack("!I", 2**32 - 1), "a header of 4294967295 bytes"),
        (struct.pack("!I", 4) + b"null", "a header with"),
        (struct.pack("!I", 100_000) + b"[" * 100_000, "a header with"),
        (header(service="1"), "a header with 1 faults"),
        (header(service=1.0), "a header with 1 faults"),
        (header(1), "a header with 1 faults"),
        (header(tensors=[["object", [1]]]), "a header with 1 faults"),
        (header(tensors=[["int64", [-1]]]), "a header with 1 faults"),
        (header(tensors=[["int64", [2**31]]]), "tensors of more than"),
        (header(tensors=[["int8", [2**62, 2**62]]]), "tensors of more than"),
        (header(tensors=[["int8", [2**80, 0]]]), "a tensor of shape"),
        (header(tensors=[["int8", [1] * 65]]), "a tensor of shape"),
    ],
)
def test_invalid_messages_are_refused(pair: Pair, data: bytes, reason: str) -> None:
    pair[0].sendall(data)
    with pytest.raises(MessageError, match=reason):
        Connection(pair[1], NAME).receive()


@pytest.mark.parametrize("data", [b"", b"\0", struct.pack("!I", 10), header(tensors=[["int64", [5]]]) + b"less"])
def test_a_connection_that_closes_within_a_message_has_ended(pair: Pair, data: bytes) -> None:
    pair[0].sendall(data)
    pair[0].close()
    with pytest.raises(EOFError):
        Connection(pair[1], NAME).receive()


@pytest.mark.parametrize(
    "data", [[[0, {"tuple": 3}]], [[0, {"a": [], "b": []}]], [[0, {"eval": []}]], [[5, 1]], [[0]], {"a": 1}, [["0", 1]]]
)
def test_damaged_states_are_one_error(data: object) -> None:
    with pytest.raises(GraphStoreError, match="cannot be read"):
        from_payload(rpc.ClientBarrierRequest, data, [])  # type: ignore[arg-type]  # that is the case


def test_both_ends_prove_that_they_have_the_key(pair: Pair) -> None:
    names: list[str] = []
    thread = threading.Thread(target=lambda: names.append(admit(pair[0], KEY, 10)))
    thread.start()
    introduce(pair[1], KEY, NAME, 10)
    thread.join()
    assert names == [NAME]


def test_another_key_is_refused(pair: Pair) -> None:
    refused: list[Exception] = []

    def serve() -> None:
        try:
            admit(pair[0], KEY[::-1], 10)
        except MessageError as error:
            refused.append(error)
            pair[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(MessageError, match="a wrong proof"):  # not the end of a connection, after which a trainer would try again
        introduce(pair[1], KEY, NAME, 10)
    thread.join()
    assert "wrong proof" in str(refused[0])


def test_a_name_that_is_not_ascii_is_refused(pair: Pair) -> None:
    ours = bytes(32)
    proof = hmac.digest(KEY, b"trainer" + ours + ours + b"\xff" * len(NAME), "sha256")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(MessageError, match="a wrong name"):
        patched.setattr(secrets, "token_bytes", lambda _: ours)
        pair[1].sendall(ours + proof + b"\xff" * len(NAME))
        admit(pair[0], KEY, 10)


def test_a_server_without_the_key_is_refused(pair: Pair) -> None:
    pair[0].sendall(b"dgl-mutual/parts" + bytes(32) + bytes(32))
    with pytest.raises(MessageError, match="wrong proof"):
        introduce(pair[1], KEY, NAME, 10)
    pair[1].sendall(b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(64))
    with pytest.raises(MessageError, match="no greeting"):
        introduce(pair[0], KEY, NAME, 10)


def sampling(nodes: torch.Tensor) -> Message:
    return Message(SAMPLING_SERVICE_ID, 0, 0, 0, [], [nodes])


def test_only_requests_of_a_training_for_nodes_of_the_part_pass() -> None:
    nodes = range(100, 200)
    for inside in ([100, 199], []):
        check_nodes(sampling(torch.tensor(inside, dtype=torch.int64)), REQUESTED_NODES, nodes)
    for outside in ([99], [150, 200], [-1], [2**62]):
        with pytest.raises(MessageError, match=r"nodes beyond 100 \.\.\. 199"):
            check_nodes(sampling(torch.tensor(outside)), REQUESTED_NODES, nodes)
    for wrong in (torch.zeros(2), torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.int32)):
        with pytest.raises(MessageError, match="not integers"):
            check_nodes(sampling(wrong), REQUESTED_NODES, nodes)
    with pytest.raises(MessageError, match="without its nodes"):
        check_nodes(Message(SAMPLING_SERVICE_ID, 0, 0, 0, [], []), REQUESTED_NODES, nodes)
    rpc.register_service(kvstore.KVSTORE_PUSH, kvstore.PushRequest, None)
    for service in (kvstore.KVSTORE_PUSH, 123456):
        with pytest.raises(MessageError, match="which a training does not need"):
            check_nodes(Message(service, 0, 0, 0, [], []), REQUESTED_NODES, nodes)


@pytest.mark.parametrize("greet", [partial(admit, key=KEY), partial(introduce, key=KEY, name=NAME)])
def test_a_handshake_byte_by_byte_ends_in_time(greet: Callable[..., object], pair: Pair) -> None:
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.05):
            pair[1].sendall(b"d")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimeoutError):
        greet(pair[0], seconds=0.3)
    ended.set()
    thread.join()
