"""Addresses of the servers of a partitioned graph, and the part of this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.sources.partition import Partition
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.graph_store.messages import GraphStoreError
from dgl_mutual.utils.files import read_bytes

#: Maximum size of a servers file in bytes.
_MOST_SERVERS = 2**20


@dataclass(frozen=True)
class Address:
    """The address of the server of a part."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def read_servers(partition: Partition, servers: Path) -> list[Address]:
    """Read the address of each part's server from a file with one line 'ADDRESS PORT' per part.

    Raises:
        UsageError: the file cannot be read, or has other lines.
    """
    try:
        lines = [line for line in read_bytes(servers, _MOST_SERVERS).decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(servers)!r} cannot be read ({error}). It has a line 'ADDRESS PORT' for each part.") from None
    if len(lines) != partition.num_parts:
        raise UsageError(
            f"{str(servers)!r} has {len(lines)} servers, but there are {partition.num_parts} parts. Give each a line 'ADDRESS PORT'."
        )
    return [_address(line, servers) for line in lines]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket that listens at `host`.

    Raises:
        UsageError: the name is unknown.
    """
    try:
        addresses = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        raise UsageError(f"The servers file names {host!r}, which is neither an address nor a name that this machine knows.") from None
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def own_part(addresses: Sequence[Address]) -> int:
    """The part that this machine serves: the part with an address of this machine; if there are several, that of torchrun's node.

    Raises:
        GraphStoreError: no address is one of this machine.
    """
    hosts = [address.host for address in addresses]
    parts = [part for part, host in enumerate(hosts) if _is_own(host)]
    if parts:
        node = int(os.environ.get("GROUP_RANK", "0"))
        return node if node in parts else parts[0]
    raise GraphStoreError(
        f"The servers file has no address of this machine ({', '.join(hosts)}). Each machine runs the server of one part, and its trainers "
        "read that part from its memory."
    )


def _is_own(host: str) -> bool:
    """Whether a host is an address of this machine."""
    with suppress(OSError), socket.socket(socket.getaddrinfo(host, None)[0][0]) as probe:
        probe.bind((host, 0))
        return True
    return False


def _address(line: str, servers: Path) -> Address:
    host, _, port = line.strip().partition(" ")
    port = port.strip()
    if not (_is_host(host) and port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 2**16):
        raise UsageError(f"{str(servers)!r} has the line {line.strip()[:80]!r}. A line is 'ADDRESS PORT', for example '10.0.0.7 30050'.")
    return Address(host, int(port))


def _is_host(text: str) -> bool:
    """Whether a string can be an address or a name; Python's resolver raises ValueError for others."""
    try:
        return text.isprintable() and 0 < len(text.encode("idna")) <= 255
    except UnicodeError:  # a part of more than 63 characters, or of none
        return False
