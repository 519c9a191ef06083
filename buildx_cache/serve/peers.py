"""Who is at the other end of a connection: the names of what is read and written stand in Buildx' arguments.

Every user of a host can read the arguments of its processes. The kernel tells whose a socket is, and from which
networks a client can come: another user may have a machine, or a virtual one, on another of the host's networks.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from buildx_cache.permissions import trusted_users

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_NO_INODE = "0"
_LOCAL, _REMOTE, _USER, _INODE = 1, 2, 7, 9
_WORD = 4
_ROUTES, _ADDRESSES = Path("/proc/net/route"), Path("/proc/net/if_inet6")
_NETWORK, _GATEWAY, _MASK = 1, 2, 7
_PREFIX = 2
_NO_GATEWAY = "00000000"

End = tuple[str, int]
"""An end of a connection: its numerical address and its port."""


def knows_users() -> bool:
    """Tell whether this host's kernel says whose a connection is: Linux does."""
    return _TABLES[0].exists()


def may_write(client: End, server: End) -> bool:
    """Tell whether a client is this user, or on the network that the server's address belongs to, as a builder is.

    A container is not in the kernel's table. Neither is a client on this host that has gone already, and what it sent
    is not read. Addresses are compared, too: from another one of loopback's, a client that has gone would count as
    whoever has its port.

    Raises:
        OSError: the kernel does not tell, as no descriptor is left.
    """
    if users := [*_users(client, server)]:
        return all(user in trusted_users() for user in users)
    return not _is_here(client[0]) and _is_beside(client[0], server[0])


def may_read(client: End, server: End) -> bool:
    """Tell whether a client may write; where no kernel tells whose it is, any client may read.

    Raises:
        OSError: the kernel does not tell, as no descriptor is left.
    """
    return not knows_users() or may_write(client, server)


def _users(client: End, server: End) -> Iterator[int]:
    """Yield whose the sockets are that connect these ends; of a closed one the kernel says root: it is nobody's."""
    ends = (_plain(client[0]), client[1]), (_plain(server[0]), server[1])
    port = f":{client[1]:04X} "
    for line in (line for table in _TABLES for line in _lines(table) if port in line):
        words = line.split()
        if (_end(words[_LOCAL]), _end(words[_REMOTE])) == ends:
            yield int(words[_USER]) if words[_INODE] != _NO_INODE else -1


def _lines(table: Path, head: int = 1) -> list[str]:
    try:
        return table.read_text(encoding="ascii").splitlines()[head:]
    except FileNotFoundError:  # no IPv6, or no Linux
        return []


def _is_beside(client: str, server: str) -> bool:
    """Tell whether a client is on the smallest network of this host's that the server's address belongs to."""
    here, there = _plain(server), _plain(client)
    own = [network for network in _networks() if network.prefixlen and here in network]
    return bool(own) and there in max(own, key=lambda network: network.prefixlen)


def _networks() -> Iterator[IPv4Network | IPv6Network]:
    """Yield the networks that this host is on."""
    for words in map(str.split, _lines(_ROUTES)):
        if words[_GATEWAY] == _NO_GATEWAY:
            network, mask = (_plain(_words(words[field])) for field in (_NETWORK, _MASK))
            yield ip_network(f"{network}/{mask}")
    for words in map(str.split, _lines(_ADDRESSES, head=0)):
        yield ip_network((bytes.fromhex(words[0]), int(words[_PREFIX], 16)), strict=False)


def _end(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Parse an end as the kernel writes it."""
    address, _, port = text.rpartition(":")
    return _plain(_words(address)), int(port, 16)


def _words(text: str) -> bytes:
    """Return the bytes of words of the machine's byte order, in hexadecimal digits."""
    raw = bytes.fromhex(text)
    words = (raw[at : at + _WORD] for at in range(0, len(raw), _WORD))
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)


def _plain(address: str | bytes) -> IPv4Address | IPv6Address:
    """Return an address; one of IPv4 that is written as one of IPv6 is the former."""
    found = ip_address(address)
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def _is_here(address: str) -> bool:
    """Tell whether an address is one of this host's; without a table, whoever has it counts as here."""
    if not knows_users():
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
