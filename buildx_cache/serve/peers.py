"""Who is at the other end of a connection on this host: the name of what may be written stands in Buildx' arguments.

Every user of a host can read the arguments of its processes. The kernel tells whose a socket is.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from buildx_cache.permissions import trusted_users

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_NO_INODE = "0"
_LOCAL, _REMOTE, _USER, _INODE = 1, 2, 7, 9


def knows_users() -> bool:
    """Tell whether this host's kernel says whose a connection is: Linux does."""
    return _TABLES[0].exists()


def may_write(address: str, port: int, server_port: int) -> bool:
    """Tell whether a client is not another user of this host's.

    A container on another network is not in the kernel's table. Neither is a client on this host that has gone already,
    and what it sent is not read.
    """
    users = [*_users(port, server_port)]
    return all(user in trusted_users() for user in users) if users else not _is_here(address)


def _users(port: int, server_port: int) -> Iterator[int]:
    """Yield whose the sockets are that connect these ports; of a closed one the kernel says root: it is nobody's."""
    for line in (line for table in _TABLES for line in _lines(table)):
        words = line.split()
        if _port(words[_LOCAL]) == port and _port(words[_REMOTE]) == server_port:
            yield int(words[_USER]) if words[_INODE] != _NO_INODE else -1


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # no IPv6, or no Linux
        return []


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _is_here(address: str) -> bool:
    """Tell whether an address is one of this host's; without a table, whoever has it counts as here."""
    if not knows_users():
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False
