"""Messages between trainers and servers of a partitioned graph, as plain numbers, strings and tensors.

A message names no class or function, unlike DGL's own, which are pickles: unpickling runs any code of the sender.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue, NonNegativeInt, TypeAdapter, ValidationError
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DglMutualError

#: Maximum size in bytes of the header and of the tensors of a message.
_MOST_HEADER, _MOST_TENSORS = 2**20, 2**32
_GREETING = b"dgl-mutual/parts"
_NONCE, _DIGEST, NAME = 32, 32, 32

#: Requests that training needs. DGL's other requests change what is stored, or carry functions.
_SERVICES = frozenset(
    {
        "BarrierRequest",
        "ClientBarrierRequest",
        "ClientRegisterRequest",
        "GetNumberClientsRequest",
        "GetPartShapeRequest",
        "GetRoleRequest",
        "GetSharedDataRequest",
        "InitGraphRequest",
        "PullRequest",
        "QueryIfUseGraphBoltRequest",
        "RegisterRoleRequest",
        "SamplingRequest",
        "SamplingRequestEtype",
        "ShutDownRequest",
    }
)
#: Places of the tensors with node indices.
REQUESTED_NODES = {"PullRequest": (0,), "SamplingRequest": (0,), "SamplingRequestEtype": (0,)}
RECEIVED_NODES = {"SamplingRequest": (0, 1), "SamplingRequestEtype": (0, 1)}

_DType = Literal["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


class GraphStoreError(DglMutualError):
    """A server or trainer of a graph store cannot be reached, or sends an unexpected message."""


class MessageError(Exception):
    """Received bytes are not a valid message."""


#: The fields of a message in their order, with (type, shape) of each tensor instead of the tensors.
_Header: TypeAlias = tuple[int, int, int, int, JsonValue, list[tuple[_DType, list[NonNegativeInt]]], int]
_HEADER: TypeAdapter[_Header] = TypeAdapter(_Header)
#: The data of a message: (place, value) pairs.
_OTHERS: TypeAdapter[list[tuple[int, JsonValue]]] = TypeAdapter(list[tuple[int, JsonValue]])


@dataclass(frozen=True, eq=False)
class Message:
    """An RPC message of DGL; `data` is its state without tensors, in JSON."""

    service_id: int
    msg_seq: int
    client_id: int
    server_id: int
    data: JsonValue
    tensors: list[Tensor]
    group_id: int = 0


class Connection:
    """A socket to an authenticated process."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.name = name
        self._socket = sock
        self.open = True
        self.end_reason = ""
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: Message) -> None:
        """Send a whole message.

        Raises:
            OSError: the other end is gone.
        """
        arrays = [tensor.detach().contiguous().cpu().numpy() for tensor in message.tensors]
        numbers = message.service_id, message.msg_seq, message.client_id, message.server_id
        layout = [(array.dtype.name, array.shape) for array in arrays]
        encoded = json.dumps([*numbers, message.data, layout, message.group_id]).encode()
        self._socket.sendall(struct.pack("!I", len(encoded)) + encoded)
        for array in arrays:
            self._socket.sendall(_bytes_of(array))

    def receive(self) -> Message | None:
        """Receive the next message; None if the other end has announced that there are no more.

        Raises:
            MessageError: the message is invalid.
            OSError, EOFError: the other end is gone.
        """
        (size,) = struct.unpack("!I", _read(self._socket, 4))
        if size == 0:
            return None
        if size > _MOST_HEADER:
            raise MessageError(f"a header of {size} bytes")
        try:
            service, sequence, client, server, data, layout, group = _HEADER.validate_json(_read(self._socket, size), strict=True)
        except ValidationError as error:
            raise MessageError(f"a header with {error.error_count()} faults") from None
        shapes = [(np.dtype(name), shape) for name, shape in layout]
        # Python's integers do not overflow.
        if sum(dtype.itemsize * int(np.prod(np.asarray(shape, dtype=object))) for dtype, shape in shapes) > _MOST_TENSORS:
            raise MessageError(f"tensors of more than {_MOST_TENSORS} bytes")
        tensors = []
        for dtype, shape in shapes:
            try:
                array = np.empty(shape, dtype=dtype)
            except (ValueError, MemoryError):
                raise MessageError(f"a tensor of shape {shape}") from None
            _read_into(self._socket, _bytes_of(array))
            tensors.append(torch.from_numpy(array))
        return Message(service, sequence, client, server, data, tensors, group)

    def close(self) -> None:
        """Announce that there are no more messages, and close."""
        self.open = False
        try:
            self._socket.sendall(struct.pack("!I", 0))
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end is gone
            pass
        self._socket.close()


def introduce(sock: socket.socket, key: bytes, name: str, seconds: float) -> None:
    """Authenticate a trainer and a server to each other by their common key, within `seconds`: the trainer's side.

    Raises:
        MessageError: the other end is not a server with this key.
        OSError, EOFError: the server is gone, or too slow.
    """
    end = time.monotonic() + seconds
    greeting = _read(sock, len(_GREETING) + _NONCE, end)
    if not greeting.startswith(_GREETING):
        raise MessageError("no greeting")
    theirs, ours = greeting[len(_GREETING) :], secrets.token_bytes(_NONCE)
    sock.sendall(ours + _proof(key, b"trainer", theirs, ours, name.encode()) + name.encode())
    if not hmac.compare_digest(_read(sock, _DIGEST, end), _proof(key, b"server", theirs, ours)):
        raise MessageError("a wrong proof")


def admit(sock: socket.socket, key: bytes, seconds: float) -> str:
    """The server's side of `introduce`, with the same errors. Returns the name of the trainer."""
    end = time.monotonic() + seconds
    ours = secrets.token_bytes(_NONCE)
    sock.sendall(_GREETING + ours)
    answer = _read(sock, _NONCE + _DIGEST + NAME, end)
    theirs, proof, name = answer[:_NONCE], answer[_NONCE : _NONCE + _DIGEST], answer[_NONCE + _DIGEST :]
    if not hmac.compare_digest(proof, _proof(key, b"trainer", ours, theirs, name)):
        sock.sendall(bytes(_DIGEST))  # an invalid proof: the trainer learns that it is refused, and need not try again
        raise MessageError("a wrong proof")
    if not name.isascii():
        raise MessageError("a wrong name")
    sock.sendall(_proof(key, b"server", ours, theirs))
    return name.decode("ascii")


def _proof(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")


def check_nodes(message: Message, places: Mapping[str, Sequence[int]], nodes: range) -> None:
    """Check that a message belongs to training, and that its node indices are among `nodes`.

    Raises:
        MessageError: otherwise.
    """
    request, _ = dgl.distributed.rpc.SERVICE_ID_TO_PROPERTY.get(message.service_id, (None, None))
    name = getattr(request, "__name__", "")
    if name not in _SERVICES:
        raise MessageError(f"a message of kind {name or message.service_id}, which a training does not need")
    for place in places.get(name, ()):
        if place >= len(message.tensors):
            raise MessageError(f"{name} without its nodes")
        numbers = message.tensors[place]
        if numbers.dtype != torch.int64 or numbers.ndim != 1:
            raise MessageError(f"{name} with nodes that are not integers")
        if len(numbers) and not (nodes.start <= int(numbers.min()) and int(numbers.max()) < nodes.stop):
            raise MessageError(f"{name} for nodes beyond {nodes.start} ... {nodes.stop - 1}")


def to_payload(serializable: Any) -> tuple[JsonValue, list[Tensor]]:
    """The payload of DGL's request or response: its tensors, and the places and values of everything else."""
    state = serializable.__getstate__()
    state = state if isinstance(state, tuple) else (state,)
    others = [(index, _encoded(value)) for index, value in enumerate(state) if not isinstance(value, Tensor)]
    return [list(pair) for pair in others], [value for value in state if isinstance(value, Tensor)]


def from_payload(message_class: Any, data: JsonValue, tensors: list[Tensor]) -> Any:
    """Make DGL's request or response from its payload.

    Raises:
        GraphStoreError: the payload does not fit the class.
    """
    try:
        others = _OTHERS.validate_python(data)
        remaining = iter(tensors)
        values = {place: _decoded(value) for place, value in others}
        state = tuple([values[place] if place in values else next(remaining) for place in range(len(values) + len(tensors))])
        result = message_class.__new__(message_class)
        result.__setstate__(state[0] if len(state) == 1 else state)
    except (ValueError, TypeError, LookupError, StopIteration, AttributeError) as error:
        name = getattr(message_class, "__name__", message_class)
        raise GraphStoreError(f"Another process of this training sent a {name} that cannot be read ({error}).") from None
    return result


def _encoded(value: Any) -> JsonValue:
    """A value in JSON. Types that JSON lacks are written as {type: items}."""
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, (tuple, set)):
        return {"set" if isinstance(value, set) else "tuple": [_encoded(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


def _decoded(value: JsonValue) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((type_name, items),) = value.items()
    if not isinstance(items, list):
        raise TypeError(f"a {type_name} without items")
    decoded = [_decoded(item) for item in items]
    return {"tuple": tuple, "set": set, "dict": dict}[type_name](decoded)


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read(sock: socket.socket, size: int, end: float | None = None) -> bytes:
    """Read `size` bytes before the time `end` of the monotonic clock.

    Raises:
        OSError, EOFError: the other end is gone, or too slow.
    """
    buffer = bytearray(size)
    _read_into(sock, memoryview(buffer), end)
    return bytes(buffer)


def _read_into(sock: socket.socket, view: memoryview, end: float | None = None) -> None:
    while len(view):
        if end is not None:  # a timeout of the socket itself restarts with every byte
            if (remaining := end - time.monotonic()) <= 0:
                raise TimeoutError("timed out")
            sock.settimeout(remaining)
        count = sock.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
