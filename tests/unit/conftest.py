"""Unit tests reach nothing outside this process: no Docker, no git, no network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3  # noqa: F401 -- it opens a socket when it is first imported, to see what the system can

from buildx_cache.request import contexts, large_files

FORBIDDEN = {
    "os.exec": "replaced the process",
    "os.fork": "forked",
    "os.forkpty": "forked",
    "os.posix_spawn": "started a child process",
    "os.spawn": "started a child process",
    "os.system": "started a child process",
    "pty.spawn": "started a child process",
    "subprocess.Popen": "started a child process",
    "socket.bind": "opened a socket",
    "socket.connect": "opened a connection",
    "socket.getaddrinfo": "looked up a host",
    "socket.sendto": "sent a datagram",
}


class _Guard:
    """An audit hook sees every way to a child process or a connection, from C code too; it cannot be taken out."""

    def __init__(self) -> None:
        self.running: str | None = None

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.running and (deed := FORBIDDEN.get(event)):
            what = " ".join(map(repr, arguments[:2]))
            pytest.fail(f"a unit test {deed}: {event} {what}; hand in a fake, or make it an integration test")


_GUARD = _Guard()
sys.addaudithook(_GUARD)


@pytest.fixture(scope="session", autouse=True)
def _time_to_look() -> Iterator[None]:
    """On a busy machine the time that the program gives itself to look at a build context is over before it begins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_files, "SECONDS", 60.0)
        patch.setattr(contexts, "_SECONDS", 60.0)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    # pytest asks this hook about the tests of every folder.
    _GUARD.running = item.nodeid if Path(__file__).parent in item.path.parents else None
    try:
        return (yield)
    finally:
        _GUARD.running = None
