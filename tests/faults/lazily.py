"""The program with a server of cache folders that fails: ``python -m tests.faults.lazily FAILURE build …``.

The failures cannot be had from outside of the process that serves.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from buildx_cache.cli import main
from buildx_cache.layout.writer import Upload
from buildx_cache.serve import Pushed, Received, Served
from buildx_cache.serve.answers import Answer, AnswerKind, Request
from buildx_cache.serve.pushes import Pushes

_SLOW_SECONDS = 0.3
_SERVE = "buildx_cache.run.recovery.lazy.serve"
_RECEIVE = "buildx_cache.run.recovery.lazy_export.receive"
_ANSWER = "buildx_cache.serve.answer"
Serve = Callable[..., Any]


class _Fuse:
    """Ends a server when it is about to send its n-th manifest or blob."""

    def __init__(self, kind: AnswerKind, number: int) -> None:
        self._kind = kind
        self._left = number
        self._blown = threading.Event()
        self._lock = threading.Lock()

    def answer(self, answer: Callable[..., Answer], request: Request, **more: object) -> Answer:
        given = answer(request, **more)
        with self._lock:
            self._left -= given.kind is self._kind
            blown = self._left <= 0
        if blown:
            self._blown.set()
            time.sleep(60)  # nothing is sent; the connection is cut when the server ends
        return given

    @contextmanager
    def serve(self, real: Serve, folder: Path, **options: object) -> Iterator[Served]:
        with ExitStack() as stack:
            served = stack.enter_context(real(folder, **options))

            def end() -> None:
                self._blown.wait()
                stack.close()

            threading.Thread(target=end, daemon=True).start()
            yield served


@contextmanager
def _gone(real: Serve, folder: Path, **options: object) -> Iterator[Served]:
    """Nobody listens any more."""
    with real(folder, **options) as served:
        gone = served
    yield gone


@contextmanager
def _deaf(real: Serve, folder: Path, **options: object) -> Iterator[Served]:
    """Somebody listens, and says nothing: what a firewall makes of it."""
    with real(folder, **options) as served, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield replace(served, port=port, repository=served.repository.replace(str(served.port), str(port)))


def _slowly(answer: Callable[..., Answer], request: Request, **more: object) -> Answer:
    time.sleep(_SLOW_SECONDS)
    return answer(request, **more)


def _replace(place: str, by: Callable[..., Any]) -> None:
    """Put a function in the place of another, which it gets as its first argument, for as long as the program runs."""
    module, _, name = place.rpartition(".")
    real = getattr(importlib.import_module(module), name)
    mock.patch(place, partial(by, real)).start()


def _blow(kind: AnswerKind, number: int) -> None:
    fuse = _Fuse(kind, number)
    _replace(_ANSWER, fuse.answer)
    _replace(_SERVE, fuse.serve)


def _slow() -> None:
    _replace(_ANSWER, _slowly)


def _cut(kind: AnswerKind, number: int) -> None:
    """Kill the tunnel as the n-th manifest or blob is about to be sent."""
    left = number

    def cutting(answer: Callable[..., Answer], request: Request, **more: object) -> Answer:
        nonlocal left
        given = answer(request, **more)
        left -= given.kind is kind
        if left <= 0:
            for each in Path("/proc").glob("[0-9]*/stat"):
                with suppress(OSError):
                    number, name, _, parent, *_ = each.read_text().split()
                    if name == "(ssh)" and int(parent) == os.getpid():
                        os.kill(int(number), signal.SIGKILL)
        return given

    _replace(_ANSWER, cutting)


FAILURES: dict[str, Callable[[], None]] = {
    "gone before it begins": partial(_replace, _SERVE, _gone),
    "deaf": partial(_replace, _SERVE, _deaf),
    "killed at the manifest": partial(_blow, AnswerKind.MANIFEST, 1),
    "killed at the config": partial(_blow, AnswerKind.BLOB, 1),
    "killed at the first layer": partial(_blow, AnswerKind.BLOB, 2),
    "killed at a later layer": partial(_blow, AnswerKind.BLOB, 4),
    "slow": _slow,
}

CUTS: dict[str, Callable[[], None]] = {
    "tunnel killed at the manifest": partial(_cut, AnswerKind.MANIFEST, 1),
    "tunnel killed at the config": partial(_cut, AnswerKind.BLOB, 1),
    "tunnel killed at the first layer": partial(_cut, AnswerKind.BLOB, 2),
}
"""Those of a builder that a tunnel leads to."""

# --- a folder that is written ---


@contextmanager
def _nobody(real: Serve, folder: Path, **options: object) -> Iterator[Received]:
    with real(folder, **options) as received:
        gone = received
    yield gone


@contextmanager
def _mute(real: Serve, folder: Path, **options: object) -> Iterator[Received]:
    """Somebody listens, and says nothing."""
    with real(folder, **options) as received, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield replace(
            received, port=port, reference=received.reference.replace(str(received.port), str(port)), count=Pushed
        )


def _cut_writing() -> None:
    """End the server when the first blob or manifest comes."""
    blown = threading.Event()

    def answer(real: Callable[..., Answer], pushes: Pushes, request: Request) -> Answer:
        if request.method == "PUT":
            blown.set()
            time.sleep(60)
        return real(pushes, request)

    @contextmanager
    def receive(real: Serve, folder: Path, **options: object) -> Iterator[Received]:
        with ExitStack() as stack:
            received = stack.enter_context(real(folder, **options))

            def end() -> None:
                blown.wait()
                stack.close()

            threading.Thread(target=end, daemon=True).start()
            yield received

    real = Pushes.answer
    mock.patch.object(Pushes, "answer", lambda pushes, request: answer(real, pushes, request)).start()
    _replace(_RECEIVE, receive)


def _full() -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mock.patch.object(Upload, "write", write).start()


UNSENT: dict[str, Callable[[], None]] = {
    "nobody": partial(_replace, _RECEIVE, _nobody),
    "mute": partial(_replace, _RECEIVE, _mute),
    "cut": _cut_writing,
}
FULL = "full"

if __name__ == "__main__":
    {**FAILURES, **CUTS, **UNSENT, FULL: _full}[sys.argv.pop(1)]()
    sys.exit(main())
